"""What errors of PostgreSQL mean, and that none leaves half a unit behind: protocol C6, B56-B60."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.core.errors import (
    DomainConstraintError,
    MessagingError,
    OutcomeUnknownError,
    PermanentError,
    TransientError,
)
from waybill.messaging.core.sqlstate import translate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.testing.contracts.transaction import Probe

FEW_SECONDS = 10.0


LONG = "".join(chr(0x10000 + n * 7919 % 0xC000) for n in range(16_000))
"""More than an index takes, however it is compressed; its beginning is more than one of a page."""


class DriverError(Exception):
    """As drivers raise them."""

    def __init__(
        self,
        sqlstate: str,
        constraint_name: str | None = None,
        schema_name: str | None = None,
        column_name: str | None = None,
    ) -> None:
        super().__init__("the server's words")
        self.sqlstate = sqlstate
        self.constraint_name = constraint_name
        self.schema_name = schema_name
        self.column_name = column_name


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (DriverError("22003"), PermanentError),
        (DriverError("22P02"), PermanentError),
        (DriverError("23505", "orders_key"), DomainConstraintError),
        (DriverError("23514", "stock_not_negative"), DomainConstraintError),
        (DriverError("23502", column_name="total"), DomainConstraintError),
        (DriverError("23514"), TransientError),
        (DriverError("23505", "outbox_1_lane_seq_key", "messaging"), TransientError),
        *(
            (DriverError(state), TransientError)
            for state in (
                "08006", "0A000", "25006", "25P02", "28P01", "40001", "40P01", "42P01", "42703",
                "53100", "53300", "54000", "55P03", "57014", "57P01", "57P03", "58030", "P0001",
                "XX000",
            )
        ),
        (ConnectionRefusedError(111, "refused"), TransientError),
        (TimeoutError(), TransientError),
        (asyncpg.InterfaceError("connection is closed"), TransientError),
        (ValueError("int too large"), PermanentError),
        (ssl.SSLCertVerificationError(1, "expired"), TransientError),  # a ValueError, too
    ],
    ids=lambda value: getattr(value, "sqlstate", None) or getattr(value, "__name__", None),
)  # fmt: skip
def test_sqlstate_decides(error: Exception, meaning: type[MessagingError]) -> None:
    """Protocol C6: 22xxx and a named constraint of the user's are the message's fault, no more."""
    assert type(translate(error)) is meaning


@pytest.mark.parametrize(
    ("statement", "arguments", "meaning"),
    [
        ("INSERT INTO probe (small) VALUES (99999::bigint)", (), PermanentError),
        ("INSERT INTO probe (value) VALUES ($1)", ("a\0b",), PermanentError),
        ("INSERT INTO probe (small) VALUES ($1)", (99999,), PermanentError),
        ("INSERT INTO probe (small) VALUES ($1)", ("text",), PermanentError),
        (
            "INSERT INTO probe (small) SELECT unnest($1::smallint[])",
            ([1, 1 << 40],),
            PermanentError,
        ),
        ("INSERT INTO probe (unique_value) VALUES ($1)", (LONG[:3_000],), PermanentError),
        ("INSERT INTO probe (unique_value) VALUES ($1)", (LONG,), PermanentError),
        ("INSERT INTO probe (value) VALUES ('x')", (), DomainConstraintError),
        ("INSERT INTO probe (unique_value) VALUES ('a'), ('a')", (), DomainConstraintError),
        ("INSERT INTO probe (n) VALUES (NULL)", (), DomainConstraintError),
        ("SELECT * FROM nowhere", (), TransientError),
        ("SELECT nothing FROM probe", (), TransientError),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)", (), TransientError),
        ("SET TRANSACTION READ ONLY; DELETE FROM probe", (), TransientError),
        ("SELECT pg_terminate_backend(pg_backend_pid())", (), TransientError),
    ],
)
async def test_statement_errors_are_translated(
    database: PostgresDatabase,
    probe: Probe,
    statement: str,
    arguments: tuple[object, ...],
    meaning: type[MessagingError],
) -> None:
    """Protocol C6: what a real server and driver raise arrives as what it means, with its cause."""
    with pytest.raises(MessagingError) as caught:
        async with database.transaction() as transaction:
            await probe.write(transaction, "lost")
            await transaction.execute(statement, *arguments)
    assert type(caught.value) is meaning
    assert caught.value.__cause__ is not None
    assert await probe.read() == []


async def test_swallowed_error_cannot_commit(database: PostgresDatabase, probe: Probe) -> None:
    """Pitfalls B56, B57: an error inside a unit dooms it, though a handler caught it."""
    flushed: list[object] = []

    async def flush(_transaction: object, items: object) -> None:
        flushed.append(items)

    with pytest.raises(DomainConstraintError):
        async with database.transaction() as transaction:
            transaction.buffer(flush).append(1)
            await probe.write(transaction, "half an effect")
            with suppress(MessagingError):
                await transaction.execute("INSERT INTO probe (value) VALUES ('x')")
            with pytest.raises(DomainConstraintError):
                await probe.write(transaction, "the other half")
    assert await probe.read() == []
    assert flushed == []


async def test_client_side_error_dooms_as_well(database: PostgresDatabase, probe: Probe) -> None:
    """A value that the driver could not encode leaves no half of a unit either."""
    with pytest.raises(PermanentError):
        async with database.transaction() as transaction:
            await probe.write(transaction, "half an effect")
            with suppress(PermanentError):
                await transaction.execute("INSERT INTO probe (small) VALUES ($1)", "text")
    assert await probe.read() == []


async def test_transaction_control_by_hand_is_noticed(
    database: PostgresDatabase, probe: Probe
) -> None:
    """Protocol O7: a ROLLBACK inside the unit is not taken for a commit."""
    with pytest.raises(TransientError, match="ROLLBACK"):
        async with database.transaction() as transaction:
            await probe.write(transaction, "lost")
            with suppress(asyncpg.PostgresError):
                await transaction._connection.execute("SELECT 1/0")  # type: ignore[attr-defined]
    assert await probe.read() == []


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        " end;",
        "Rollback",
        "ROLLBACK WORK AND CHAIN",
        "abort",
        "START\nTRANSACTION",
        "begin",
        "PREPARE TRANSACTION 'mine'",
    ],
)
async def test_o7_sql_cannot_end_a_unit(
    database: PostgresDatabase, probe: Probe, statement: str
) -> None:
    """Protocol O7, E4: what ends the transaction by SQL is refused before it is sent."""
    for send in ("execute", "fetch"):
        with pytest.raises(RuntimeError, match="unit of work"):
            async with database.transaction() as transaction:
                await probe.write(transaction, "half an effect")
                await getattr(transaction, send)(statement)
    assert await probe.read() == []


@pytest.mark.parametrize("act", ["commit", "rollback"])
async def test_o7_the_open_transaction_has_no_end_for_a_handler(
    database: PostgresDatabase, probe: Probe, act: str
) -> None:
    """Protocol O7: what the runtime ends it with is refused while the block is open."""
    with pytest.raises(RuntimeError, match="unit of work"):
        async with database.transaction() as transaction:
            await probe.write(transaction, "half an effect")
            await getattr(transaction, act)()
    assert await probe.read() == []
    async with database.transaction() as transaction:
        await probe.write(transaction, "whole")
    assert await probe.read() == ["whole"]


async def test_o7_a_commit_that_hides_is_noticed_at_once(
    database: PostgresDatabase, probe: Probe
) -> None:
    """Protocol O7: it cannot be taken back, so nothing more is written and it is told."""
    with pytest.raises(RuntimeError, match="ended"):
        async with database.transaction() as transaction:
            await probe.write(transaction, "first")
            with suppress(RuntimeError):
                await transaction.execute("SELECT 1; COMMIT")
            await probe.write(transaction, "second")
    assert "second" not in await probe.read()


async def test_savepoints_by_hand_are_no_end(database: PostgresDatabase, probe: Probe) -> None:
    """Protocol O7: ROLLBACK TO keeps the transaction."""
    async with database.transaction() as transaction:
        await probe.write(transaction, "kept")
        await transaction.execute("SAVEPOINT here")
        await probe.write(transaction, "taken back")
        await transaction.execute("ROLLBACK TO SAVEPOINT here")
        await transaction.execute("ROLLBACK WORK TO here")
    assert await probe.read() == ["kept"]


@pytest.mark.usefixtures("probe")
async def test_deadlock_is_transient(database: PostgresDatabase) -> None:
    """Pitfall B58: one of two units that wait for each other is told to try again."""
    await database.fetch("INSERT INTO probe (n) VALUES (1), (2)")
    both_locked = asyncio.Barrier(2)

    async def unit(first: int, second: int) -> None:
        async with database.transaction() as transaction:
            await transaction.execute("UPDATE probe SET small = 1 WHERE n = $1", first)
            await both_locked.wait()
            await transaction.execute("UPDATE probe SET small = 1 WHERE n = $1", second)

    async with asyncio.timeout(FEW_SECONDS):
        results = await asyncio.gather(unit(1, 2), unit(2, 1), return_exceptions=True)
    failed = [result for result in results if result is not None]
    assert [type(error) for error in failed] == [TransientError]
    assert "40P01" in str(failed[0])


@pytest.fixture
async def dies_in_commit(database: PostgresDatabase) -> str:
    """A statement after which COMMIT ends the server's process."""
    async with database.transaction() as transaction:
        await transaction.execute(
            """
            CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
            CREATE TABLE doomed (a int);
            CREATE CONSTRAINT TRIGGER die AFTER INSERT ON doomed
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()
            """
        )
    return "INSERT INTO doomed VALUES (1)"


async def test_connection_lost_in_commit_is_unknown(
    database: PostgresDatabase, dies_in_commit: str
) -> None:
    """Protocol I2: a COMMIT without an answer is neither a success nor a failure."""
    calls: list[int] = []
    with pytest.raises(OutcomeUnknownError):
        async with database.transaction() as transaction:
            transaction.on_commit(lambda: calls.append(1))
            transaction.on_unknown(lambda: calls.append(2))
            await transaction.execute(dies_in_commit)
    assert calls == [2]
    assert (await database.fetch("SELECT 1"))[0][0] == 1


async def test_refused_commit_is_known(database: PostgresDatabase, probe: Probe) -> None:
    """A deferred constraint that fails at COMMIT is an ordinary error: nothing happened."""
    await database.fetch(
        "ALTER TABLE probe ADD CONSTRAINT late UNIQUE (value) DEFERRABLE INITIALLY DEFERRED"
    )
    with pytest.raises(DomainConstraintError, match="late"):
        async with database.transaction() as transaction:
            await probe.write(transaction, "twice")
            await probe.write(transaction, "twice")
    assert await probe.read() == []


async def test_cancelled_statement_discards_the_connection(
    messaging_database: str,
) -> None:
    """Pitfall B60: no transaction of a cancelled unit comes back out of the pool."""
    database = await PostgresDatabase.connect(messaging_database, PostgresSettings(pool_max=1))
    observer = await asyncpg.connect(messaging_database)
    try:
        pid = (await database.fetch("SELECT pg_backend_pid()"))[0][0]

        async def unit() -> None:
            async with database.transaction() as transaction:
                await transaction.execute("SELECT pg_sleep(60)")

        async with asyncio.timeout(FEW_SECONDS):
            task = asyncio.ensure_future(unit())
            asleep = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"
            while not await observer.fetchval(asleep, pid):
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await database.fetch("SELECT pg_backend_pid()"))[0][0] != pid
    finally:
        await observer.close()
        await database.close()


@pytest.fixture
async def narrow(messaging_database: str) -> AsyncIterator[PostgresDatabase]:
    """A pool of one connection and short limits."""
    database = await PostgresDatabase.connect(
        messaging_database,
        PostgresSettings(
            pool_max=1,
            acquire_timeout_seconds=0.05,
            statement_timeout_seconds=0.05,
            lock_timeout_seconds=0.02,
            idle_in_transaction_timeout_seconds=7,
        ),
    )
    yield database
    await database.close()


async def test_exhausted_pool_is_transient(narrow: PostgresDatabase) -> None:
    """Every wait has a limit: a pool that gives no connection in time is an outage."""
    async with narrow.transaction():
        with pytest.raises(TransientError):
            await narrow.fetch("SELECT 1")
    await narrow.fetch("SELECT 1")


async def test_session_has_its_limits(narrow: PostgresDatabase) -> None:
    """The named settings are the server's, and isolation is READ COMMITTED whatever its default."""
    rows = await narrow.fetch(
        """
        SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
               current_setting('idle_in_transaction_session_timeout'),
               current_setting('transaction_isolation')
        """
    )
    assert tuple(rows[0][n] for n in range(4)) == ("50ms", "20ms", "7s", "read committed")
    with pytest.raises(TransientError, match="57014"):
        await narrow.fetch("SELECT pg_sleep(5)")


async def test_restarted_server_is_an_outage_that_ends(
    database: PostgresDatabase, messaging_database: str
) -> None:
    """Connections that died while idle are replaced; at most one unit notices."""
    await database.fetch("SELECT 1")
    observer = await asyncpg.connect(messaging_database)
    await observer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await observer.close()
    with suppress(TransientError):
        await database.fetch("SELECT 1")
    assert (await database.fetch("SELECT 1"))[0][0] == 1


async def test_unreachable_server_is_transient() -> None:
    """Nobody listens: an outage, in one error."""
    with pytest.raises(TransientError):
        await PostgresDatabase.connect("postgresql://nobody@/nothing?host=/nonexistent")

"""Database and Transaction on MariaDB and MySQL: the contract, and what these servers do else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from tests.messaging.mysql.conftest import TableProbe

from waybill.messaging.adapters.mysql.connection import MysqlDatabase, MysqlSettings
from waybill.messaging.core.errors import (
    ConfigurationError,
    DomainConstraintError,
    PermanentError,
    TransientError,
)
from waybill.messaging.testing.contracts.transaction import TransactionContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)


@pytest.fixture
def database(plain: MysqlDatabase) -> MysqlDatabase:
    """No schema of ours is needed here."""
    return plain


@pytest.fixture
async def probe(database: MysqlDatabase) -> TableProbe:
    """See contracts.transaction."""
    made = TableProbe(database)
    await made.create()
    return made


class TestMysqlTransaction(TransactionContract):
    pass


VALUES = (
    None,
    True,
    -(2**63),
    1.5,
    1e300,
    Decimal("12345678901234567890.123456789"),
    'it\'s \\ "quoted" \n $1 %s ключ \N{WRAPPED PRESENT} ',
    b"\x00\xff ' \\ raw",
    bytes(range(256)) * 300,
    NOON,
)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
async def test_values_come_back_as_they_were(database: MysqlDatabase, value: object) -> None:
    """A value is a literal of its type: nothing in it can change the statement around it."""
    kind = "CAST($1 AS datetime(6))" if isinstance(value, datetime) else "$1"
    (row,) = await database.fetch(f"SELECT {kind} AS value, '$1' AS text", value)
    assert row["value"] == value
    assert (row["text"], row[1]) == ("$1", "$1")


async def test_lists_are_written_without_their_brackets(database: MysqlDatabase) -> None:
    """`IN ($1)` takes a list, an empty one finds nothing; `VALUES $1` takes rows."""
    await database.fetch("CREATE TABLE t (a int, b binary(16))")
    ids = [UUID(int=n) for n in range(3)]
    await database.fetch("INSERT INTO t VALUES $1", [(n, id_) for n, id_ in enumerate(ids)])
    rows = await database.fetch("SELECT a FROM t WHERE b IN ($1) ORDER BY a", ids[1:])
    assert [row[0] for row in rows] == [1, 2]
    assert await database.fetch("SELECT a FROM t WHERE b IN ($1)", []) == []


@pytest.mark.parametrize(
    "value",
    [float("nan"), -float("inf"), Decimal("NaN"), NOON.replace(tzinfo=None), "\ud800", object()],
)
async def test_what_is_no_value_is_permanent(database: MysqlDatabase, value: object) -> None:
    """Protocol C6: what cannot be encoded is a fault of the message, and nothing was sent."""
    with pytest.raises(PermanentError, match="cannot encode"):
        await database.fetch("SELECT $1", value)


async def test_a_statement_above_max_allowed_packet_is_permanent(database: MysqlDatabase) -> None:
    """Protocol C6, L4: up to the limit it is sent; above it no try is in vain, nothing is sent.

    Left to the server, one byte too many is an error, and twice the limit a broken connection.
    """
    await database.fetch("CREATE TABLE t (a longblob)")
    insert, limit = "INSERT INTO t VALUES ($1)", database.server.packet_bytes_max
    assert limit < 2**26, "the tests' servers have their defaults"
    room = limit - 1 - len(insert.replace("$1", "_binary''")) - 1
    async with database.transaction() as transaction:
        await transaction.execute(insert, b"a" * room)
    for large in (b"a" * (room + 1), b"\0" * limit):
        with pytest.raises(PermanentError, match="max_allowed_packet"):
            async with database.transaction() as transaction:
                with suppress(PermanentError):
                    await transaction.execute(insert, large)
    assert [row[0] for row in await database.fetch("SELECT length(a) FROM t")] == [room]


async def test_a_server_that_takes_less_by_now_refuses_for_good(database: MysqlDatabase) -> None:
    """Protocol C6: max_allowed_packet became smaller after the pool was opened: error 1153."""
    limit = database.server.packet_bytes_max
    database.server = replace(database.server, packet_bytes_max=2**30)
    with pytest.raises(PermanentError, match="1153"):
        await database.fetch("SELECT length($1)", b"a" * limit)


@pytest.mark.usefixtures("probe")
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO probe (value) VALUES ('x')", DomainConstraintError),
        ("INSERT INTO probe (n) VALUES (NULL), ('no number')", PermanentError),
        ("INSERT INTO probe (small) VALUES (70000)", PermanentError),
        ("INSERT INTO probe (value) VALUES (repeat('y', 101))", PermanentError),
        ("INSERT INTO probe (unique_value) VALUES ('a'), ('a')", DomainConstraintError),
        ("SELECT * FROM no_such_table", TransientError),
        ("SELEKT 1", TransientError),
        ("SIGNAL SQLSTATE '22012'", PermanentError),
    ],
)
async def test_errors_say_what_the_runtime_does(
    database: MysqlDatabase, statement: str, expected: type[Exception]
) -> None:
    """Protocol C6: data is permanent, a named constraint a verdict, all else an outage."""
    with pytest.raises(expected) as caught:
        await database.fetch(statement)
    assert type(caught.value) is expected


async def test_an_update_counts_what_it_found(database: MysqlDatabase, probe: TableProbe) -> None:
    """As on PostgreSQL: an optimistic update that changes nothing has found its row."""
    async with database.transaction() as transaction:
        await probe.write(transaction, "same")
    async with database.transaction() as transaction:
        assert await transaction.execute("UPDATE probe SET value = 'same'") == 1
        assert await transaction.execute("DELETE FROM probe") == 1


async def test_b57_a_deadlock_ends_its_unit(database: MysqlDatabase, probe: TableProbe) -> None:
    """Pitfall B57: the server rolled one back; what that unit says later is not committed."""
    async with database.transaction() as transaction:
        for value in ("a", "b"):
            await probe.write(transaction, value)
    both_hold = asyncio.Barrier(2)

    async def unit(first: int, second: int) -> None:
        async with database.transaction() as transaction:
            change = "UPDATE probe SET value = concat(value, '+') WHERE n = $1"
            await transaction.execute(change, first)
            await both_hold.wait()
            try:
                await transaction.execute(change, second)
            except TransientError:
                with pytest.raises(TransientError):
                    await probe.write(transaction, "half a unit")

    async with asyncio.timeout(30):
        results = await asyncio.gather(unit(1, 2), unit(2, 1), return_exceptions=True)
    assert [type(each) for each in results if each is not None] == [TransientError]
    assert await probe.read() == ["a+", "b+"]


async def test_b56_a_lock_time_out_ends_its_unit(empty_database: str) -> None:
    """Pitfall B56: the server takes back one statement only; the adapter the whole unit."""
    database = await MysqlDatabase.connect(empty_database, MysqlSettings(lock_timeout_seconds=1.0))
    probe = TableProbe(database)
    await probe.create()
    async with database.transaction() as holder:
        await probe.write(holder, "held")
        with pytest.raises(TransientError, match="1205"):
            async with database.transaction() as transaction:
                await probe.write(transaction, "half a unit")
                with pytest.raises(TransientError):
                    await transaction.execute("UPDATE probe SET value = 'mine' WHERE n = 1")
    assert await probe.read() == ["held"]
    await database.close()


@pytest.mark.parametrize(
    "statement",
    ["COMMIT", "rollback", "CREATE TABLE t (a int)", "TRUNCATE probe", "XA START 'x'",
     "SET autocommit = 1", "LOCK TABLES probe WRITE"],
)  # fmt: skip
async def test_o7_a_statement_that_would_commit_is_refused(
    database: MysqlDatabase, probe: TableProbe, statement: str
) -> None:
    """Protocol O7, E4: these servers commit before DDL; a handler cannot end its unit so."""
    with pytest.raises(RuntimeError, match="only the runtime ends a unit"):
        async with database.transaction() as transaction:
            await probe.write(transaction, "lost")
            await transaction.execute(statement)
    assert await probe.read() == []


async def test_o7_a_procedure_that_commits_is_loud(
    database: MysqlDatabase, probe: TableProbe
) -> None:
    """Protocol O7: what ends the transaction from inside a statement stops the unit there."""
    await database.fetch(
        "CREATE PROCEDURE ends() BEGIN INSERT INTO probe (n) VALUES (9); COMMIT; END"
    )
    with pytest.raises(RuntimeError, match="ended the transaction"):
        async with database.transaction() as transaction:
            await transaction.execute("CALL ends()")
            await probe.write(transaction, "stray")
    assert await probe.read() == [None]


async def test_sessions_are_read_committed_and_strict(database: MysqlDatabase) -> None:
    """Pitfall B40: each statement sees what was committed before it."""
    await database.fetch("CREATE TABLE t (a smallint)")
    async with database.transaction() as reader:
        assert await reader.fetch("SELECT a FROM t") == []
        async with database.transaction() as writer:
            await writer.execute("INSERT INTO t VALUES (1)")
        assert [row[0] for row in await reader.fetch("SELECT a FROM t")] == [1]


@pytest.mark.parametrize(
    "url", ["postgresql://h/d", "mysql://h", "mysql://h/d?no_such=1", "mysql://h:x/d"]
)
async def test_a_wrong_url_is_a_mistake_of_the_set_up(url: str) -> None:
    """It fails at start and says what a URL looks like."""
    with pytest.raises(ConfigurationError):
        await MysqlDatabase.connect(url)


async def test_a_server_that_is_away_is_an_outage() -> None:
    """An outage costs time, never attempts."""
    with pytest.raises(TransientError):
        await MysqlDatabase.connect("mysql://root@localhost/d?unix_socket=/nowhere")


@pytest.fixture
async def small(empty_database: str) -> AsyncIterator[MysqlDatabase]:
    """A pool with one connection."""
    settings = MysqlSettings(pool_max=1, acquire_timeout_seconds=0.2)
    opened = await MysqlDatabase.connect(empty_database, settings)
    yield opened
    await opened.close()


async def test_a_pool_that_is_used_up_is_an_outage(small: MysqlDatabase) -> None:
    """Waiting has a limit, and the pool goes on after it."""
    async with small.transaction() as transaction:
        await transaction.fetch("SELECT 1")
        with pytest.raises(TransientError):
            await small.fetch("SELECT 1")
    assert (await small.fetch("SELECT 1"))[0][0] == 1


async def test_a_connection_that_the_server_ended_is_replaced(small: MysqlDatabase) -> None:
    """After an outage the next unit works; the one that met it rolls back."""
    with pytest.raises(TransientError):
        async with small.transaction() as transaction:
            (row,) = await transaction.fetch("SELECT connection_id()")
            await transaction.execute(f"KILL {row[0]}")
            await transaction.fetch("SELECT 1")
    assert (await small.fetch("SELECT 1"))[0][0] == 1


async def test_a_cancellation_that_meets_the_answer_is_not_lost(small: MysqlDatabase) -> None:
    """A loop that is cancelled ends, whatever its statement is about to answer (pitfall B60)."""

    async def asking() -> None:
        while True:
            await small.fetch("SELECT 1")

    for turn in range(200):
        task = asyncio.create_task(asking())
        await asyncio.sleep(0.0001 * (turn % 20))
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()


async def test_a_server_that_falls_silent_is_an_outage(empty_database: str) -> None:
    """A connection that says nothing beyond its statement's time-out counts as broken."""
    settings = MysqlSettings(statement_timeout_seconds=0.2, answer_grace_seconds=0.0)
    database = await MysqlDatabase.connect(empty_database, settings)
    with pytest.raises(TransientError):
        await database.fetch("SELECT sleep(20)")
    assert (await database.fetch("SELECT 1"))[0][0] == 1
    await database.close()

"""BEGIN and COMMIT ride on statements; their answers disturb no other, however they arrive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from waybill.messaging.adapters.postgres import riding, statements
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.core.errors import (
    DomainConstraintError,
    OutcomeUnknownError,
    PermanentError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.commit_acts import Flush
    from waybill.messaging.core.ports import Row, Transaction

ANSWER = b"1\x00\x00\x00\x04" + b"2\x00\x00\x00\x04" + b"C\x00\x00\x00\x0aBEGIN\x00"
NOTICE = b"S\x00\x00\x00\x0dwork_m\x001\x00"
REST = b"2\x00\x00\x00\x04D\x00\x00\x00\x06\x00\x00"
REFUSAL = b"E\x00\x00\x00\x08SXX\x00"


class Driver(asyncio.Protocol):
    """Stands for asyncpg's end."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received += data


class Wire(asyncio.WriteTransport):
    """Stands for the socket."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abort(self) -> None:
        """Remember it."""
        self.aborted = True


def answers() -> tuple[riding._Answers, Driver, Wire]:
    """The filter between a driver and a wire."""
    driver, wire = Driver(), Wire()
    return riding._Answers(driver, wire), driver, wire


@pytest.mark.parametrize("size", [1, 3, 7, 20, 21, 22, 1000])
@pytest.mark.parametrize("notice", [b"", NOTICE])
def test_answer_is_taken_out_however_it_is_cut(size: int, notice: bytes) -> None:
    """Only BEGIN's own messages vanish; what comes before, between and behind them passes."""
    filtered, driver, _ = answers()
    stream = notice + ANSWER[:5] + notice + ANSWER[5:] + REST
    filtered.expect_begun()
    for start in range(0, len(stream), size):
        filtered.data_received(stream[start : start + size])
    filtered.data_received(ANSWER)
    assert driver.received == notice * 2 + REST + ANSWER


def test_refused_begin_ends_the_connection() -> None:
    """A statement must not run without its transaction: the refusal passes, the socket closes."""
    filtered, driver, wire = answers()
    filtered.expect_begun()
    filtered.data_received(REFUSAL)
    assert driver.received == REFUSAL
    assert wire.aborted


@pytest.fixture
async def database(messaging_database: str) -> AsyncIterator[PostgresDatabase]:
    """A pool of one connection."""
    opened = await PostgresDatabase.connect(messaging_database, PostgresSettings(pool_max=1))
    yield opened
    await opened.close()


async def test_statements_of_both_kinds_stand_in_the_transaction(
    database: PostgresDatabase,
) -> None:
    """Simple and prepared, known and new: the first statement already belongs to the unit."""
    await database.fetch("CREATE TABLE t (n integer)")
    for number, first in enumerate(("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES ($1)")):
        for _ in range(2):
            with pytest.raises(LookupError):
                async with database.transaction() as transaction:
                    await transaction.execute(first, *([number] if "$" in first else []))
                    await transaction.execute("SELECT 1")
                    raise LookupError
    assert not await database.fetch("SELECT FROM t")
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO t VALUES (7)")
    assert len(await database.fetch("SELECT FROM t")) == 1


async def test_empty_transaction_says_nothing(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a statement there is nothing to begin, to commit or to roll back."""
    monkeypatch.setattr(statements, "sent", 0)
    async with database.transaction():
        pass
    with pytest.raises(LookupError):
        async with database.transaction():
            raise LookupError
    assert statements.sent == 0


async def test_connection_that_died_before_the_first_statement_is_an_outage(
    database: PostgresDatabase, messaging_database: str
) -> None:
    """Nothing was done, and the next unit works."""
    (row,) = await database.fetch("SELECT pg_backend_pid()")
    with pytest.raises(TransientError):
        async with database.transaction() as transaction:
            other = await asyncpg.connect(messaging_database)
            await other.execute("SELECT pg_terminate_backend($1, 5000)", row[0])
            await other.close()
            await transaction.fetch("SELECT 1")
    async with database.transaction() as transaction:
        assert (await transaction.fetch("SELECT 1"))[0][0] == 1


ANSWERED = b"2\x00\x00\x00\x04D\x00\x00\x00\x06\x00\x00C\x00\x00\x00\x0dSELECT 1\x00"
IN_TRANSACTION, IDLE = b"Z\x00\x00\x00\x05T", b"Z\x00\x00\x00\x05I"
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"


@pytest.mark.parametrize("size", [1, 3, 7, 20, 21, 22, 1000])
@pytest.mark.parametrize("notice", [b"", NOTICE])
@pytest.mark.parametrize("begun", [b"", ANSWER])
def test_last_statement_is_answered_when_its_commit_is(
    size: int, notice: bytes, begun: bytes
) -> None:
    """The driver sees one answer, whole, which ends outside of the transaction."""
    filtered, driver, _ = answers()
    if begun:
        filtered.expect_begun()
    filtered.expect_committed()
    stream = begun + notice + ANSWERED + IN_TRANSACTION + notice + COMMITTED + IDLE
    for start in range(0, len(stream), size):
        assert driver.received in {b"", notice if begun else b""}
        filtered.data_received(stream[start : start + size])
    filtered.data_received(ANSWERED)
    assert driver.received == notice + ANSWERED + notice + IDLE + ANSWERED


def test_answer_to_a_failed_commit_passes() -> None:
    """The driver learns of the error as if the statement had it."""
    filtered, driver, _ = answers()
    filtered.expect_committed()
    filtered.data_received(ANSWERED + IN_TRANSACTION + REFUSAL + IDLE)
    assert driver.received == ANSWERED + REFUSAL + IDLE


def test_lost_connection_passes_what_was_held() -> None:
    """A server that goes down says so in front of the end."""
    filtered, driver, _ = answers()
    filtered.expect_committed()
    filtered.data_received(ANSWERED + IN_TRANSACTION + REFUSAL)
    assert driver.received == b""
    filtered.connection_lost(None)
    assert driver.received == ANSWERED + REFUSAL


def ends_with(statement: str, *arguments: object) -> Flush:
    """A flush of this one statement, whose rows it keeps in the buffer."""

    async def flush(transaction: Transaction, items: Sequence[Any]) -> None:
        (kept,) = items
        kept.extend(await transaction.fetch_last(statement, *arguments))

    return flush


NEW_TYPE = "CREATE TYPE mood AS ENUM ('calm')"
XACT = "SELECT pg_current_xact_id()::text"


@pytest.mark.parametrize("last", [XACT, f"{XACT}, ARRAY['calm'::mood]"])
async def test_last_statement_stands_in_its_transaction(
    database: PostgresDatabase, last: str
) -> None:
    """New, known, or of a type that the driver must ask for first: COMMIT is always behind it."""
    await database.fetch(NEW_TYPE)
    for _ in range(3):
        rows: list[Row] = []
        async with database.transaction() as transaction:
            (first,) = await transaction.fetch(XACT)
            transaction.buffer(ends_with(last)).append(rows)
        assert rows[0][0] == first[0]
        async with database.transaction() as transaction:
            transaction.buffer(ends_with(last)).append([])  # with BEGIN in front of it, too


async def test_commit_rides(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two statements are two round trips."""
    await database.fetch("CREATE TABLE t (n integer)")
    monkeypatch.setattr(statements, "sent", 0)
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO t VALUES (1)")
        transaction.buffer(ends_with("INSERT INTO t VALUES ($1)", 2)).append([])
    assert statements.sent == 2
    assert len(await database.fetch("SELECT FROM t")) == 2


@pytest.mark.parametrize("last", ["SELECT 1 / $1::integer", "INSERT INTO late VALUES ($1), ($1)"])
async def test_last_statement_or_commit_that_fails_undoes_all(
    database: PostgresDatabase, last: str
) -> None:
    """The statement's own error, and one that only COMMIT finds: nothing is there, all goes on."""
    await database.fetch("CREATE TABLE t (n integer)")
    await database.fetch("CREATE TABLE late (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    for _ in range(2):
        with pytest.raises(PermanentError):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t VALUES (1)")
                transaction.buffer(ends_with(last, 0)).append([])
    assert not await database.fetch("SELECT FROM t")


async def test_value_that_cannot_be_encoded_sends_no_commit(database: PostgresDatabase) -> None:
    """The driver refuses before it writes: the unit is rolled back, not half of it committed."""
    await database.fetch("CREATE TABLE t (n integer)")
    with pytest.raises(PermanentError):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1)")
            transaction.buffer(ends_with("SELECT $1::integer", "no number")).append([])
    assert not await database.fetch("SELECT FROM t")


async def test_server_that_dies_under_the_last_statement_leaves_the_outcome_unknown(
    database: PostgresDatabase,
) -> None:
    """Nobody can tell whether COMMIT came through; the next unit works."""
    with pytest.raises(OutcomeUnknownError):
        async with database.transaction() as transaction:
            dies = "SELECT pg_terminate_backend(pg_backend_pid(), $1)"
            transaction.buffer(ends_with(dies, 0)).append([])
    async with database.transaction() as transaction:
        assert (await transaction.fetch("SELECT 1"))[0][0] == 1


INSERT = "INSERT INTO t VALUES ($1) RETURNING n"


async def test_what_was_put_off_goes_with_commit(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are there before the calls that follow the commit; it costs no round trip."""
    await database.fetch("CREATE TABLE t (n integer)")
    heard: list[object] = []
    monkeypatch.setattr(statements, "sent", 0)
    async with database.transaction() as transaction:
        transaction.on_commit(lambda: heard.append("committed"))
        await transaction.fetch_later(INSERT, 1, then=lambda rows: heard.append(rows[0]["n"]))
        assert not heard
    assert heard == [1, "committed"]
    assert statements.sent == 1
    assert len(await database.fetch("SELECT FROM t")) == 1


async def test_what_was_put_off_keeps_its_place(database: PostgresDatabase) -> None:
    """It runs before the next statement, the next one put off, and the flush."""
    await database.fetch("CREATE TABLE t (n integer)")
    seen = "SELECT array_agg(n ORDER BY n) FROM t"
    last: list[Row] = []
    async with database.transaction() as transaction:
        await transaction.fetch_later(INSERT, 1)
        assert (await transaction.fetch(seen))[0][0] == [1]
        await transaction.fetch_later(INSERT, 2)
        await transaction.fetch_later(seen, then=last.extend)
        await transaction.fetch_later(INSERT, 3)
        transaction.buffer(ends_with(seen)).append(last)
    assert [row[0] for row in last] == [[1, 2], [1, 2, 3]]


async def test_error_of_what_was_put_off_undoes_all(database: PostgresDatabase) -> None:
    """Whether it runs with COMMIT or before; a unit that is rolled back does not run it at all."""
    await database.fetch("CREATE TABLE t (n integer PRIMARY KEY)")
    for statement in ("", "SELECT 1"):
        with pytest.raises(DomainConstraintError):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t VALUES (1)")
                await transaction.fetch_later(INSERT, 1)
                if statement:
                    await transaction.fetch(statement)
    with pytest.raises(LookupError):
        async with database.transaction() as transaction:
            await transaction.fetch_later(INSERT, 2)
            raise LookupError
    assert not await database.fetch("SELECT FROM t")

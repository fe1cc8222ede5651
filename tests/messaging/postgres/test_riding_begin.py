"""BEGIN rides on the first statement, and its answer disturbs no other, however it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.messaging.adapters.postgres import riding_begin, statements
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


def answers() -> tuple[riding_begin._Answers, Driver, Wire]:
    """The filter between a driver and a wire."""
    driver, wire = Driver(), Wire()
    return riding_begin._Answers(driver, wire), driver, wire


@pytest.mark.parametrize("size", [1, 3, 7, 20, 21, 22, 1000])
@pytest.mark.parametrize("notice", [b"", NOTICE])
def test_answer_is_taken_out_however_it_is_cut(size: int, notice: bytes) -> None:
    """Only BEGIN's own messages vanish; what comes before, between and behind them passes."""
    filtered, driver, _ = answers()
    stream = notice + ANSWER[:5] + notice + ANSWER[5:] + REST
    filtered.expect()
    for start in range(0, len(stream), size):
        filtered.data_received(stream[start : start + size])
    filtered.data_received(ANSWER)
    assert driver.received == notice * 2 + REST + ANSWER


def test_refused_begin_ends_the_connection() -> None:
    """A statement must not run without its transaction: the refusal passes, the socket closes."""
    filtered, driver, wire = answers()
    filtered.expect()
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

"""A statement of which only the failure matters goes in front of the next, in its round trip."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.messaging.postgres.test_riding import (
    ANSWER,
    IDLE,
    NOTICE,
    REFUSAL,
    REST,
    answers,
    ends_with,
)

from waybill.messaging.adapters.postgres import statements
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.core.errors import ClaimRefusedError, PermanentError
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

BOUND = b"2\x00\x00\x00\x04" + b"D\x00\x00\x00\x0a\x00\x01\x00\x00\x00\x00"
AHEAD = BOUND + b"C\x00\x00\x00\x0dSELECT 1\x00"
SIZES = [1, 3, 7, 20, 21, 22, 37, 1000]
INSERT = "INSERT INTO t VALUES ($1) RETURNING n"
SOON_SECONDS = 10.0
"""Below the driver's own time-out of a statement that nobody answers."""
REQUIRE = "SELECT messaging.require_claim($1::text = 'new')"


@pytest.fixture
async def database(messaging_database: str) -> AsyncIterator[PostgresDatabase]:
    """A pool of one connection, and a table."""
    opened = await PostgresDatabase.connect(messaging_database, PostgresSettings(pool_max=1))
    await opened.fetch("CREATE TABLE t (n integer)")
    yield opened
    await opened.close()


async def kept(database: PostgresDatabase) -> list[int]:
    """What is in the table."""
    return [row["n"] for row in await database.fetch("SELECT n FROM t ORDER BY n")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("notice", [b"", NOTICE])
def test_answer_is_taken_out_however_it_is_cut(size: int, notice: bytes) -> None:
    """BEGIN's messages and those of what went ahead vanish; success is told once."""
    filtered, driver, _ = answers()
    heard: list[str] = []
    stream = ANSWER + notice + AHEAD[:5] + notice + AHEAD[5:] + REST
    filtered.expect_begun(lambda: heard.append("done"))
    assert filtered.is_ahead_open
    for start in range(0, len(stream), size):
        filtered.data_received(stream[start : start + size])
    filtered.data_received(ANSWER + AHEAD)
    assert driver.received == notice * 2 + REST + ANSWER + AHEAD
    assert heard == ["done"]
    assert not filtered.is_ahead_open


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("before", [b"", BOUND])
def test_refusal_is_the_next_statements(size: int, before: bytes) -> None:
    """The server passes over the next statement; the driver hears why, and nothing is granted."""
    filtered, driver, wire = answers()
    heard: list[str] = []
    filtered.expect_begun(lambda: heard.append("done"))
    stream = ANSWER + before + REFUSAL + IDLE
    for start in range(0, len(stream), size):
        filtered.data_received(stream[start : start + size])
    assert driver.received == REFUSAL + IDLE
    assert not heard
    assert not wire.aborted


async def test_it_costs_no_round_trip(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEGIN, what goes ahead, the statement and COMMIT: one; success is known with its answer."""
    heard: list[str] = []
    monkeypatch.setattr(statements, "sent", 0)
    for number in range(3):
        async with database.transaction() as transaction:
            await transaction.execute_ahead(REQUIRE, "new", then=lambda: heard.append("done"))
            assert len(heard) == number
            transaction.buffer(ends_with(INSERT, number)).append([])
    assert statements.sent == 3
    assert len(heard) == 3
    assert await kept(database) == [0, 1, 2]


@pytest.mark.parametrize("ending", ["fetch", "last", "later", "execute", "simple", "nothing"])
async def test_refusal_undoes_all(database: PostgresDatabase, ending: str) -> None:
    """Whatever comes next is not run, and raises what went ahead did; the next unit works."""
    heard: list[str] = []
    for _ in range(2):
        with pytest.raises(ClaimRefusedError):
            async with database.transaction() as transaction:
                await transaction.execute_ahead(REQUIRE, "old", then=lambda: heard.append("done"))
                if ending == "fetch":
                    await transaction.fetch(INSERT, 1)
                elif ending == "last":
                    transaction.buffer(ends_with(INSERT, 1)).append([])
                elif ending == "later":
                    await transaction.fetch_later(INSERT, 1)
                elif ending == "execute":
                    await transaction.execute(INSERT, 1)
                elif ending == "simple":
                    await transaction.execute("INSERT INTO t VALUES (1)")
        async with database.transaction() as transaction:
            assert (await transaction.fetch("SELECT 1"))[0][0] == 1
    assert not heard
    assert await kept(database) == []


@pytest.mark.parametrize("ending", ["fetch", "execute", "simple", "settle", "nothing"])
async def test_success_keeps_all(database: PostgresDatabase, ending: str) -> None:
    """It runs once, in the transaction, whatever follows it."""
    heard: list[str] = []
    async with database.transaction() as transaction:
        await transaction.execute_ahead(INSERT, 7, then=lambda: heard.append("done"))
        if ending == "fetch":
            assert len(await transaction.fetch("SELECT n FROM t")) == 1
        elif ending == "execute":
            await transaction.execute("DELETE FROM t WHERE n = $1", 1)
        elif ending == "simple":
            await transaction.execute("DELETE FROM t WHERE n = 1")
        elif ending == "settle":
            await transaction.settle()
            assert heard
    assert heard == ["done"]
    assert await kept(database) == [7]


async def test_a_statement_that_is_never_sent_leaves_no_half_a_transaction(
    database: PostgresDatabase,
) -> None:
    """The driver cannot encode the next statement: what went ahead has nobody to answer for it."""
    await database.fetch(INSERT, 1)  # known to the driver from here on
    async with asyncio.timeout(SOON_SECONDS):
        with pytest.raises(PermanentError):
            async with database.transaction() as transaction:
                await transaction.execute_ahead(REQUIRE, "old")
                await transaction.fetch(INSERT, "no number")
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO t VALUES (2)")
    assert await kept(database) == [1, 2]


async def test_only_the_first_statement_goes_ahead(database: PostgresDatabase) -> None:
    """Later ones have something to wait for."""
    with pytest.raises(RuntimeError, match="only the first statement"):
        async with database.transaction() as transaction:
            await transaction.fetch("SELECT 1")
            await transaction.execute_ahead(INSERT, 1)


async def test_arguments_arrive_as_they_are(database: PostgresDatabase) -> None:
    """Texts with everything that lists are written with, numbers, ids, and nothing."""
    await database.fetch("CREATE TABLE u (a text, b text[], c uuid, d uuid[], e bigint[], f text)")
    texts = ["", "NULL", 'a"b', "a\\b", "{a,b}", "é ,", "x\ny"]
    some: list[UUID | None] = [new_id(), None]
    arguments = ('t"x\\', texts, some[0], some, [-1, 2**62], None)
    async with database.transaction() as transaction:
        statement = "INSERT INTO u VALUES ($1, $2, $3, $4, $5, $6)"
        await transaction.execute_ahead(statement, *arguments)
        (row,) = await transaction.fetch("SELECT * FROM u")
    assert tuple(row[n] for n in range(len(arguments))) == arguments


async def test_other_arguments_are_refused(database: PostgresDatabase) -> None:
    """A driver's whole encoding is not done again here."""
    with pytest.raises(TypeError, match="float"):
        async with database.transaction() as transaction:
            await transaction.execute_ahead("SELECT $1::float", 1.5)
            await transaction.fetch("SELECT 1")

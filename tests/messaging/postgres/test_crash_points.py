"""A COMMIT that goes through and is not answered, on a real server: error, effect, pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from tests.messaging.postgres.conftest import TableProbe

from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.sqlalchemy.database import SqlalchemyDatabase
from waybill.messaging.core.errors import OutcomeUnknownError, TransientError
from waybill.messaging.testing.contracts.outbox import a_message
from waybill.messaging.testing.crash_points import CrashPlan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.core.ports import Database

ROWS = "SELECT count(*) FROM messaging.outbox"
TIMES = 5
"""More than the pool has connections."""


@pytest.fixture(params=["asyncpg", "sqlalchemy"])
async def one(request: pytest.FixtureRequest, messaging_database: str) -> AsyncIterator[Database]:
    """A database with a pool of two."""
    made: Database
    if request.param == "asyncpg":
        made = await PostgresDatabase.connect(messaging_database, PostgresSettings(pool_max=2))
    else:
        url = messaging_database.replace("postgresql://", "postgresql+asyncpg://")
        made = SqlalchemyDatabase(create_async_engine(url, pool_size=2, max_overflow=0))
    yield made
    await made.close()


async def test_a_commit_whose_answer_is_lost_stands_and_the_pool_stays_healthy(
    one: Database,
) -> None:
    """do_then_fail: the caller hears that nobody knows, the row is there, the next ones work."""
    probe = TableProbe(one)
    await probe.create()
    for number in range(TIMES):
        with CrashPlan() as plan:
            plan.fail("transaction.after_commit")
            with pytest.raises(OutcomeUnknownError):
                async with one.transaction() as transaction:
                    await probe.write(transaction, str(number))
    assert await probe.read() == [str(number) for number in range(TIMES)]


@pytest.mark.parametrize("point", ["outbox.before_append", "outbox.after_append"])
async def test_an_append_that_fails_takes_its_effects_with_it(one: Database, point: str) -> None:
    """O2: neither effect nor message is there, and the lane's lock is free again."""
    probe, outbox = TableProbe(one), PostgresOutbox()
    await probe.create()
    with CrashPlan() as plan:
        plan.fail(point)
        with pytest.raises(TransientError):
            async with one.transaction() as transaction:
                await probe.write(transaction, "lost")
                outbox.append(transaction, [a_message("k")])
    assert await probe.read() == []
    assert (await one.fetch(ROWS))[0][0] == 0
    async with one.transaction() as transaction:
        outbox.append(transaction, [a_message("k")])
    assert (await one.fetch(ROWS))[0][0] == 1

"""Positions, dead letters and deliveries keep their contracts in a SQLAlchemy application too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from tests.messaging.postgres.conftest import OutboxRows
from tests.messaging.postgres.test_dead_letters_and_deliveries import judge

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.dead_letters import PostgresDeadLetters
from waybill.messaging.adapters.postgres.deliveries import PostgresDeliveries
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.outbox_log import PostgresOutboxLog
from waybill.messaging.adapters.sqlalchemy.database import SqlalchemyDatabase
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.testing.contracts.dead_letters import DeadLettersContract
from waybill.messaging.testing.contracts.deliveries import DeliveriesContract
from waybill.messaging.testing.contracts.log import OTHER_TOPIC, TOPIC, LogContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["judge"]


def sqlalchemy_database(url: str) -> SqlalchemyDatabase:
    """Over an engine of its own."""
    return SqlalchemyDatabase(
        create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    )


@pytest.fixture
async def database(messaging_database: str) -> AsyncIterator[SqlalchemyDatabase]:
    """The user's engine."""
    opened = sqlalchemy_database(messaging_database)
    yield opened
    await opened.close()


@pytest.fixture
def read(database: SqlalchemyDatabase) -> OutboxRows:
    """See contracts.outbox."""
    return OutboxRows(database)


class TestDeadLettersOverSqlalchemy(DeadLettersContract):
    @pytest.fixture
    def dead_letters(self, database: SqlalchemyDatabase) -> PostgresDeadLetters:
        return PostgresDeadLetters(database, PostgresOutbox())


class TestDeliveriesOverSqlalchemy(DeliveriesContract):
    @pytest.fixture
    def deliveries(self, database: SqlalchemyDatabase) -> PostgresDeliveries:
        return PostgresDeliveries(database)


class TestLogOverSqlalchemy(LogContract):
    @pytest.fixture
    async def producing(self, messaging_database: str) -> AsyncIterator[PostgresDatabase]:
        opened = await PostgresDatabase.connect(messaging_database)
        yield opened
        await opened.close()

    @pytest.fixture
    def outbox(self) -> PostgresOutbox:
        return PostgresOutbox()

    @pytest.fixture
    async def consuming(self, second_messaging_database: str) -> AsyncIterator[SqlalchemyDatabase]:
        opened = sqlalchemy_database(second_messaging_database)
        yield opened
        await opened.close()

    @pytest.fixture
    def make_log(
        self, consuming: SqlalchemyDatabase, messaging_database: str
    ) -> Callable[[], PostgresOutboxLog]:
        source = SourceSpec(messaging_database, frozenset({TOPIC, OTHER_TOPIC}))
        settings = LogSettings(poll_seconds=0.05)
        return lambda: PostgresOutboxLog(consuming, {"parcels": source}, settings=settings)

"""The outboxes on PostgreSQL, read directly, keep the contract of Log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.outbox_log import PostgresOutboxLog
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.runtime.doorbell import Doorbell
from waybill.messaging.testing.contracts.log import OTHER_TOPIC, TOPIC, LogContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class TestPostgresOutboxLog(LogContract):
    @pytest.fixture
    async def producing(self, messaging_database: str) -> AsyncIterator[PostgresDatabase]:
        opened = await PostgresDatabase.connect(messaging_database)
        yield opened
        await opened.close()

    @pytest.fixture
    def outbox(self) -> PostgresOutbox:
        return PostgresOutbox()

    @pytest.fixture
    async def consuming(self, second_messaging_database: str) -> AsyncIterator[PostgresDatabase]:
        opened = await PostgresDatabase.connect(second_messaging_database)
        yield opened
        await opened.close()

    @pytest.fixture
    def make_log(
        self, consuming: PostgresDatabase, messaging_database: str
    ) -> Callable[[], PostgresOutboxLog]:
        source = SourceSpec(messaging_database, frozenset({TOPIC, OTHER_TOPIC}))
        settings = LogSettings(poll_seconds=0.05)
        return lambda: PostgresOutboxLog(consuming, {"parcels": source}, settings=settings)


class TestPostgresOutboxLogOfOneProcess(TestPostgresOutboxLog):
    """Producer and consumer share a doorbell: what was committed is handed over, not read."""

    @pytest.fixture
    def bell(self) -> Doorbell:
        return Doorbell()

    @pytest.fixture
    def outbox(self, bell: Doorbell) -> PostgresOutbox:
        return PostgresOutbox(doorbell=bell.ring)

    @pytest.fixture
    def make_log(
        self, consuming: PostgresDatabase, messaging_database: str, bell: Doorbell
    ) -> Callable[[], PostgresOutboxLog]:
        source = SourceSpec(messaging_database, frozenset({TOPIC, OTHER_TOPIC}))
        return lambda: PostgresOutboxLog(
            consuming, {"parcels": source}, doorbells={"parcels": bell}
        )

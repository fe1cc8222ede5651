"""The outboxes on MariaDB and MySQL, read directly, keep the contract of Log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.mariadb import Databases

from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.messaging.adapters.mysql.migrate import upgrade
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.adapters.mysql.outbox_log import MysqlOutboxLog
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.runtime.doorbell import Doorbell
from waybill.messaging.testing.contracts.log import OTHER_TOPIC, TOPIC, LogContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class TestMysqlOutboxLog(LogContract):
    @pytest.fixture
    def producing(self, database: MysqlDatabase) -> MysqlDatabase:
        return database

    @pytest.fixture
    def outbox(self) -> MysqlOutbox:
        return MysqlOutbox()

    @pytest.fixture
    async def consuming(self, server_url: str) -> AsyncIterator[MysqlDatabase]:
        databases = Databases(server_url)
        url = await databases.make()
        await upgrade(url)
        opened = await MysqlDatabase.connect(url)
        yield opened
        await opened.close()
        await databases.drop(url)

    @pytest.fixture
    def make_log(
        self, consuming: MysqlDatabase, messaging_database: str
    ) -> Callable[[], MysqlOutboxLog]:
        source = SourceSpec(messaging_database, frozenset({TOPIC, OTHER_TOPIC}))
        settings = LogSettings(poll_seconds=0.05)
        return lambda: MysqlOutboxLog(consuming, {"parcels": source}, settings=settings)


class TestMysqlOutboxLogOfOneProcess(TestMysqlOutboxLog):
    """Producer and consumer share a doorbell: what was committed is handed over, not read."""

    @pytest.fixture
    def bell(self) -> Doorbell:
        return Doorbell()

    @pytest.fixture
    def outbox(self, bell: Doorbell) -> MysqlOutbox:
        return MysqlOutbox(doorbell=bell.ring)

    @pytest.fixture
    def make_log(
        self, consuming: MysqlDatabase, messaging_database: str, bell: Doorbell
    ) -> Callable[[], MysqlOutboxLog]:
        source = SourceSpec(messaging_database, frozenset({TOPIC, OTHER_TOPIC}))
        return lambda: MysqlOutboxLog(consuming, {"parcels": source}, doorbells={"parcels": bell})

"""A producer and a consumer on MariaDB or MySQL, for the tests of direct reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.messaging.postgres.log_world import FAST, SOURCE, LogWorld

from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.adapters.mysql.outbox_log import MysqlOutboxLog
from waybill.messaging.engines.mysql import MysqlEngine
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.testing.contracts.log import OTHER_TOPIC, TOPIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row
    from waybill.messaging.engines.port import Engine
    from waybill.messaging.reading.outbox_log import OutboxLog


class MysqlLogWorld(LogWorld):
    """As on PostgreSQL; what it asks the databases is said in these ones' words."""

    engine: Engine = MysqlEngine()

    def __init__(self, source_url: str, consumer_url: str) -> None:
        super().__init__(source_url, consumer_url)
        self.outbox = MysqlOutbox(doorbell=self.bell.ring)

    async def open(self) -> None:
        """Connect."""
        self.source = await MysqlDatabase.connect(self.source_url)
        self.consuming = await MysqlDatabase.connect(self.consumer_url)

    def log(self, settings: LogSettings = FAST, **arguments: Any) -> OutboxLog:  # noqa: ANN401 - passed on
        """Another process's log."""
        sources = {SOURCE: SourceSpec(self.source_url, frozenset({TOPIC, OTHER_TOPIC}))}
        arguments.setdefault("sources", sources)
        return MysqlOutboxLog(self.consuming, settings=settings, **arguments)

    async def at_source(self, statement: str) -> Sequence[Row]:
        """See LogWorld.at_source."""
        return await self.source.fetch(statement.replace("messaging.", "messaging_"))

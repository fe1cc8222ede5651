"""The log of one machine on MariaDB and MySQL: consumers read the outboxes directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.positions import MysqlPositionStore
from waybill.messaging.adapters.mysql.source import MysqlSource
from waybill.messaging.reading.outbox_log import OutboxLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database
    from waybill.messaging.reading.settings import LogSettings


class MysqlOutboxLog(OutboxLog):
    """See OutboxLog and core.ports.Log."""

    def _open_source(
        self, name: str, url: str, application_name: str, settings: LogSettings
    ) -> MysqlSource:
        return MysqlSource(name, url, application_name=application_name, settings=settings)

    def _open_store(
        self, database: Database, consumer: str, sources: Sequence[str]
    ) -> MysqlPositionStore:
        return MysqlPositionStore(database, consumer, sources)

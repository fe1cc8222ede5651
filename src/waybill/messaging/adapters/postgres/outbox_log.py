"""The log of one machine on PostgreSQL: consumers read the outboxes of the services directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.positions import PositionStore
from waybill.messaging.adapters.postgres.source import OutboxSource
from waybill.messaging.reading.outbox_log import OutboxLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database
    from waybill.messaging.reading.settings import LogSettings


class PostgresOutboxLog(OutboxLog):
    """See OutboxLog and core.ports.Log."""

    def _open_source(
        self, name: str, url: str, application_name: str, settings: LogSettings
    ) -> OutboxSource:
        return OutboxSource(name, url, application_name=application_name, settings=settings)

    def _open_store(
        self, database: Database, consumer: str, sources: Sequence[str]
    ) -> PositionStore:
        return PositionStore(database, consumer, sources)

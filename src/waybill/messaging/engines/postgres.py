"""Messaging on PostgreSQL, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres import (
    backlog,
    consumers,
    figures,
    inbox,
    lineage,
    relay_held,
    relay_mode,
    relay_status,
)
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.consumer_places import PLACES
from waybill.messaging.adapters.postgres.dead_letters import PostgresDeadLetters
from waybill.messaging.adapters.postgres.deliveries import PostgresDeliveries
from waybill.messaging.adapters.postgres.inbox import PostgresInbox
from waybill.messaging.adapters.postgres.migrate import upgrade
from waybill.messaging.adapters.postgres.notify import Notifier
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.outbox_log import PostgresOutboxLog
from waybill.messaging.adapters.postgres.partition_positions import PostgresPartitionPositions
from waybill.messaging.adapters.postgres.partitions import SPARE_PARTITIONS, spare_partitions
from waybill.messaging.adapters.postgres.relay_store import PostgresRelayStore
from waybill.messaging.adapters.postgres.schedule import PostgresSchedule
from waybill.messaging.adapters.postgres.source import OutboxSource
from waybill.messaging.adapters.postgres.topics import TOPICS
from waybill.messaging.adapters.postgres.upkeep import OutboxUpkeep, UpkeepSettings
from waybill.messaging.adapters.postgres.verdicts import VERDICTS
from waybill.messaging.reading.settings import LogSettings, SourceSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from waybill.messaging.core.message import Appended
    from waybill.messaging.core.ports import Database, Outbox
    from waybill.messaging.core.verdicts import Verdicts
    from waybill.messaging.engines.port import Published
    from waybill.messaging.reading.outbox_log import Doorbell
    from waybill.messaging.reading.places import ConsumerPlaces
    from waybill.messaging.reading.topics import Topics


class PostgresEngine:
    """See engines.port.Engine."""

    verdicts: Verdicts = VERDICTS
    topics: Topics = TOPICS
    places: ConsumerPlaces = PLACES

    # The adapter's own functions, as they are: see Engine.
    require_direct = staticmethod(relay_mode.require_direct)
    require_relay = staticmethod(relay_mode.require_relay)
    look = staticmethod(figures.look)
    look_at_relay = staticmethod(relay_status.look)
    undrained = staticmethod(relay_mode.undrained)
    write_boundary = staticmethod(relay_mode.write_boundary)
    rewind = staticmethod(relay_mode.rewind)
    list_held = staticmethod(relay_held.list_held)
    judge_held = staticmethod(relay_held.judge_held)
    list_consumers = staticmethod(consumers.list_consumers)
    forget_consumer = staticmethod(consumers.forget_consumer)
    unread_rows = staticmethod(backlog.unread_rows)
    purge_inbox = staticmethod(inbox.purge_inbox)
    lineage = staticmethod(lineage.lineage)

    async def upgrade(self, owner_url: str, *, partition_rows: int) -> None:
        """See Engine.upgrade."""
        await upgrade(owner_url, partition_rows=partition_rows)

    async def connect(self, url: str, settings: PostgresSettings) -> Database:
        """See Engine.connect."""
        return await PostgresDatabase.connect(url, settings)

    async def require_message_bytes(self, database: Database, message_bytes_max: int) -> None:
        """See Engine.require_message_bytes: a column takes a GiB here."""
        del database, message_bytes_max

    def outbox(
        self,
        *,
        message_bytes_max: int,
        doorbell: Callable[[Sequence[Appended]], None] | None = None,
        observer: Published | None = None,
    ) -> PostgresOutbox:
        """See Engine.outbox."""
        return PostgresOutbox(
            message_bytes_max=message_bytes_max, doorbell=doorbell, observer=observer
        )

    def inbox(self) -> PostgresInbox:
        """See Engine.inbox."""
        return PostgresInbox()

    def dead_letters(
        self, database: Database, outbox: Outbox, *, suffix: str, message_bytes_max: int
    ) -> PostgresDeadLetters:
        """See Engine.dead_letters."""
        return PostgresDeadLetters(
            database, outbox, suffix=suffix, message_bytes_max=message_bytes_max
        )

    def deliveries(self, database: Database) -> PostgresDeliveries:
        """See Engine.deliveries."""
        return PostgresDeliveries(database)

    def schedule(self, database: Database) -> PostgresSchedule:
        """See Engine.schedule."""
        return PostgresSchedule(database)

    def log(
        self,
        database: Database,
        sources: Mapping[str, SourceSpec],
        *,
        settings: LogSettings,
        doorbells: Mapping[str, Doorbell],
    ) -> PostgresOutboxLog:
        """See Engine.log."""
        return PostgresOutboxLog(database, sources, settings=settings, doorbells=doorbells)

    def hints(self, database: Database) -> Notifier:
        """See Engine.hints."""
        return Notifier(database)

    def upkeep(self, owner_url: str, settings: UpkeepSettings) -> Callable[[], Awaitable[object]]:
        """See Engine.upkeep."""
        return OutboxUpkeep(owner_url, settings).turn

    def partition_positions(self, database: Database) -> PostgresPartitionPositions:
        """See Engine.partition_positions."""
        return PostgresPartitionPositions(database)

    def feeding(
        self,
        name: str,
        url: str,
        database: Database,
        *,
        application_name: str,
        rewind_seconds: float,
        mode: str,
    ) -> tuple[PostgresRelayStore, Callable[[Callable[[], None]], None]]:
        """See Engine.feeding."""
        source = OutboxSource(name, url, application_name=application_name, settings=LogSettings())

        def call_at_hints(call: Callable[[], None]) -> None:
            source.notified = call

        store = PostgresRelayStore(name, database, source, rewind_seconds=rewind_seconds, mode=mode)
        return store, call_at_hints

    async def has_room(self, database: Database) -> tuple[bool, dict[str, str]]:
        """See Engine.has_room: rows need a partition."""
        spare = await spare_partitions(database)
        return spare >= SPARE_PARTITIONS, {"sparePartitions": str(spare)}

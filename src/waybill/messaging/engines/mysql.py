"""Messaging on MariaDB and MySQL, part by part. Needs the extra `mysql`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql import (
    backlog,
    consumers,
    figures,
    inbox,
    lineage,
    relay_held,
    relay_mode,
)
from waybill.messaging.adapters.mysql.connection import MysqlDatabase, MysqlSettings
from waybill.messaging.adapters.mysql.consumer_places import PLACES
from waybill.messaging.adapters.mysql.dead_letters import MysqlDeadLetters
from waybill.messaging.adapters.mysql.deliveries import MysqlDeliveries
from waybill.messaging.adapters.mysql.inbox import MysqlInbox
from waybill.messaging.adapters.mysql.migrate import upgrade
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.adapters.mysql.outbox_log import MysqlOutboxLog
from waybill.messaging.adapters.mysql.partition_positions import MysqlPartitionPositions
from waybill.messaging.adapters.mysql.relay_store import MysqlRelayStore
from waybill.messaging.adapters.mysql.retention import purge_outbox
from waybill.messaging.adapters.mysql.schedule import MysqlSchedule
from waybill.messaging.adapters.mysql.server import check_message_bytes, read_server
from waybill.messaging.adapters.mysql.source import MysqlSource
from waybill.messaging.adapters.mysql.topics import TOPICS
from waybill.messaging.adapters.mysql.verdicts import VERDICTS
from waybill.messaging.reading.settings import LogSettings, SourceSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from waybill.messaging.adapters.postgres.connection import PostgresSettings
    from waybill.messaging.adapters.postgres.upkeep import UpkeepSettings
    from waybill.messaging.core.message import Appended
    from waybill.messaging.core.ports import Database, Outbox
    from waybill.messaging.core.verdicts import Verdicts
    from waybill.messaging.engines.port import Published
    from waybill.messaging.reading.outbox_log import Doorbell
    from waybill.messaging.reading.places import ConsumerPlaces
    from waybill.messaging.reading.topics import Topics

_ONE_CONNECTION = MysqlSettings(pool_max=1, application_name="waybill upkeep")


class MysqlEngine:
    """See engines.port.Engine."""

    verdicts: Verdicts = VERDICTS
    topics: Topics = TOPICS
    places: ConsumerPlaces = PLACES

    # The adapter's own functions, as they are: see Engine.
    require_direct = staticmethod(relay_mode.require_direct)
    require_relay = staticmethod(relay_mode.require_relay)
    look = staticmethod(figures.look)
    look_at_relay = staticmethod(figures.look_at_relay)
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
        """See Engine.upgrade. An outbox here has no partitions."""
        del partition_rows
        await upgrade(owner_url)

    async def connect(self, url: str, settings: PostgresSettings) -> Database:
        """See Engine.connect."""
        return await MysqlDatabase.connect(url, limits(settings))

    async def require_message_bytes(self, database: Database, message_bytes_max: int) -> None:
        """See Engine.require_message_bytes."""
        check_message_bytes(await read_server(database), message_bytes_max)

    def outbox(
        self,
        *,
        message_bytes_max: int,
        doorbell: Callable[[Sequence[Appended]], None] | None = None,
        observer: Published | None = None,
    ) -> MysqlOutbox:
        """See Engine.outbox."""
        return MysqlOutbox(
            message_bytes_max=message_bytes_max, doorbell=doorbell, observer=observer
        )

    def inbox(self) -> MysqlInbox:
        """See Engine.inbox."""
        return MysqlInbox()

    def dead_letters(
        self, database: Database, outbox: Outbox, *, suffix: str, message_bytes_max: int
    ) -> MysqlDeadLetters:
        """See Engine.dead_letters."""
        return MysqlDeadLetters(
            database, outbox, suffix=suffix, message_bytes_max=message_bytes_max
        )

    def deliveries(self, database: Database) -> MysqlDeliveries:
        """See Engine.deliveries."""
        return MysqlDeliveries(database)

    def schedule(self, database: Database) -> MysqlSchedule:
        """See Engine.schedule."""
        return MysqlSchedule(database)

    def log(
        self,
        database: Database,
        sources: Mapping[str, SourceSpec],
        *,
        settings: LogSettings,
        doorbells: Mapping[str, Doorbell],
    ) -> MysqlOutboxLog:
        """See Engine.log."""
        return MysqlOutboxLog(database, sources, settings=settings, doorbells=doorbells)

    def hints(self, database: Database) -> None:
        """See Engine.hints: these servers have no NOTIFY."""
        del database

    def upkeep(self, owner_url: str, settings: UpkeepSettings) -> Callable[[], Awaitable[object]]:
        """See Engine.upkeep: rows that are over go, a page a transaction."""

        async def turn() -> int:
            database = await MysqlDatabase.connect(owner_url, _ONE_CONNECTION)
            try:
                return await purge_outbox(database, settings.outbox_retention_seconds)
            finally:
                await database.close()

        return turn

    def partition_positions(self, database: Database) -> MysqlPartitionPositions:
        """See Engine.partition_positions."""
        return MysqlPartitionPositions(database)

    def feeding(
        self,
        name: str,
        url: str,
        database: Database,
        *,
        application_name: str,
        rewind_seconds: float,
        mode: str,
    ) -> tuple[MysqlRelayStore, Callable[[Callable[[], None]], None]]:
        """See Engine.feeding."""
        source = MysqlSource(name, url, application_name=application_name, settings=LogSettings())
        store = MysqlRelayStore(name, database, source, rewind_seconds=rewind_seconds, mode=mode)
        return store, lambda _: None

    async def has_room(self, database: Database) -> tuple[bool, dict[str, str]]:
        """See Engine.has_room: a table without partitions takes what the disk takes."""
        del database
        return True, {}


def limits(settings: PostgresSettings) -> MysqlSettings:
    """The same limits on these servers, by their names."""
    names = {each.name for each in fields(MysqlSettings)} & {each.name for each in fields(settings)}
    return MysqlSettings(**{name: getattr(settings, name) for name in names})

"""A producer and a consumer on databases of their own, for the tests of direct reading."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.outbox_log import PostgresOutboxLog
from waybill.messaging.engines.postgres import PostgresEngine
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.runtime.doorbell import Doorbell
from waybill.messaging.testing.contracts.log import CONSUMER, OTHER_TOPIC, TOPIC, publish
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Database, Outbox, Row
    from waybill.messaging.engines.port import Engine
    from waybill.messaging.reading.outbox_log import OutboxLog
    from waybill.messaging.reading.subscription import OutboxSubscription

SOURCE = "parcels"
FAST = LogSettings(poll_seconds=0.05, report_seconds=0.05, lease_seconds=1.0)
FEW_SECONDS = 30.0


class LogWorld:
    """One source, one consuming database, and whatever members a test starts."""

    engine: Engine = PostgresEngine()
    source: Database
    consuming: Database

    def __init__(self, source_url: str, consumer_url: str) -> None:
        self.source_url = source_url
        self.consumer_url = consumer_url
        self.bell = Doorbell()
        self.outbox: Outbox = PostgresOutbox(doorbell=self.bell.ring)
        self.members: list[OutboxSubscription] = []

    async def open(self) -> None:
        """Connect."""
        few = PostgresSettings(pool_max=6)
        self.source = await PostgresDatabase.connect(self.source_url, few)
        self.consuming = await PostgresDatabase.connect(self.consumer_url, few)

    async def close(self) -> None:
        """Close members, then databases."""
        await self.close_members()
        await self.source.close()
        await self.consuming.close()

    async def close_members(self) -> None:
        """Whatever is still open. May be repeated."""
        for member in self.members:
            await member.close()

    def log(self, settings: LogSettings = FAST, **arguments: Any) -> OutboxLog:  # noqa: ANN401 - passed on
        """Another process's log."""
        sources = {SOURCE: SourceSpec(self.source_url, frozenset({TOPIC, OTHER_TOPIC}))}
        arguments.setdefault("sources", sources)
        return PostgresOutboxLog(self.consuming, settings=settings, **arguments)

    async def member(
        self,
        settings: LogSettings = FAST,
        *,
        consumer: str = CONSUMER,
        topics: Sequence[str] = (TOPIC,),
        **arguments: Any,  # noqa: ANN401 - passed on
    ) -> OutboxSubscription:
        """A member that has joined."""
        member = await self.log(settings, **arguments).subscribe(consumer, topics)
        self.members.append(member)
        return member

    async def publish(self, *keys: str, topic: str = TOPIC) -> list[Message]:
        """Commit a message a key."""
        messages = [a_message(key, topic=topic) for key in keys]
        await publish(self.source, self.outbox, messages)
        return messages

    async def at_source(self, statement: str) -> Sequence[Row]:
        """One statement of PostgreSQL's, on any engine."""
        return await self.source.fetch(statement)

    async def disconnect_reader(self) -> None:
        """End every reader's connection to the source, as a restart of its server does."""
        await self.source.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'waybill %'"
        )

    async def stored(self) -> dict[str, Any]:
        """The consumer's row for the source."""
        (row,) = await self.consuming.fetch("SELECT * FROM messaging.consumer_source")
        return dict(row)  # type: ignore[call-overload, no-any-return]  # asyncpg's rows are mappings

    async def registered(self) -> dict[str, Any] | None:
        """The source's row for the consumer."""
        rows = await self.at_source("SELECT * FROM messaging.outbox_reader")
        return dict(rows[0]) if rows else None  # type: ignore[call-overload]  # as above


class Stoppable:
    """A monotonic clock that a test can stop: from then on no poll is ever due."""

    def __init__(self) -> None:
        self.stopped_at: float | None = None

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic() if self.stopped_at is None else self.stopped_at

    def stop(self) -> None:
        """Now."""
        self.stopped_at = time.monotonic()


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Ask until it holds, with a deadline."""
    async with asyncio.timeout(FEW_SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)

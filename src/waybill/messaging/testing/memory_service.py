"""A whole service in memory, on a clock that a test moves: ports, a source to feed, a recorder."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from waybill.messaging.adapters.memory import (
    MemoryDatabase,
    MemoryDeadLetters,
    MemoryDeliveries,
    MemoryInbox,
    MemoryLog,
    MemoryOutbox,
    MemorySchedule,
)
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import Message
from waybill.messaging.runtime.ports import ServicePorts
from waybill.messaging.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.codec import Codec
    from waybill.messaging.runtime.loop import Loop


class RecordingObserver:
    """An `Observer` that counts."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()

    def published(self, topic: str, count: int) -> None:
        """See Observer."""
        self.counts["published", topic] += count

    def processed(self, consumer: str, result: str, count: int, seconds: float) -> None:
        """See Observer."""
        del seconds
        self.counts[consumer, result] += count

    def dead_lettered(self, consumer: str, topic: str, error_type: str) -> None:
        """See Observer."""
        self.counts[consumer, topic, error_type] += 1

    def retried(self, consumer: str, reason: str) -> None:
        """See Observer."""
        self.counts[consumer, "retried", reason] += 1

    def attempted(self, kind: str, outcome: str, seconds: float) -> None:
        """See Observer."""
        del seconds
        self.counts[kind, "attempted", outcome] += 1

    def progressed(self, loop: str) -> None:
        """See Observer."""
        self.counts["progressed", loop] += 1


class MemoryService:
    """A consuming service with its own database, and the outbox of one producer, `source`.

    `fault` may be set to a function of the database's points ("begin", "commit", "committed")
    that raises: an outage, or a COMMIT whose answer is lost.
    """

    def __init__(self, codec: Codec, *, name: str = "service") -> None:
        self.clock = FakeClock()
        self.observer = RecordingObserver()
        self.fault: Callable[[str], None] = lambda _point: None
        self.database = MemoryDatabase(fault=self._fault)
        self.source_database = MemoryDatabase()
        self.source = MemoryOutbox()
        self.outbox = MemoryOutbox()
        self.dead_letters = MemoryDeadLetters(self.database, self.outbox, self.clock)
        self.deliveries = MemoryDeliveries(self.database, self.clock)
        self.schedule = MemorySchedule(self.database, self.clock)
        self.log = MemoryLog({"source": self.source}, self.database, self.clock)
        self.codec = codec
        self.ports = ServicePorts(
            database=self.database,
            outbox=self.outbox,
            inbox=MemoryInbox(),
            dead_letters=self.dead_letters,
            codec=codec,
            producer=name,
            observer=self.observer,
            clock=self.clock,
            random=lambda: 0.5,
        )

    def _fault(self, point: str) -> None:
        self.fault(point)

    async def feed(self, messages: Sequence[Message]) -> None:
        """Commit these to the source's outbox, as its producer does."""
        async with self.source_database.transaction() as transaction:
            self.source.append(transaction, messages)

    def message(
        self,
        event: object,
        *,
        key: str,
        message_id: UUID | None = None,
        traceparent: str | None = None,
    ) -> Message:
        """A message with the event on its codec's topic."""
        envelope = Message(
            id=message_id or new_id(),
            topic=self.codec.topic(event),
            type=self.codec.type_name(event),
            version=self.codec.version(event),
            key=key,
            value=b"",
            occurred_at=self.clock.now(),
            correlation_id=key,
            traceparent=traceparent,
            producer="source",
        )
        return replaced(envelope, value=self.codec.encode(event, envelope))

    def stored_position(self, consumer: str, lane: int) -> int:
        """The seq that the consumer's own transaction stored for a lane; 0 if none."""
        row = self.database.tables.get("consumer_source", {}).get((consumer, "source"))
        seq: int = row.positions.get(lane, (0, None))[0] if row else 0
        return seq

    @asynccontextmanager
    async def running(self, *loops: Loop) -> AsyncIterator[None]:
        """Run the loops; stop them, or end them if they do not, when the block ends."""
        tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in loops]
        try:
            yield
            for loop in loops:
                loop.stop()
            await self.clock.until(lambda: all(task.done() for task in tasks))
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def replaced(message: Message, *, value: bytes) -> Message:
    """The message with other bytes, as a broken producer might send."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return Message(**{**fields, "value": value})

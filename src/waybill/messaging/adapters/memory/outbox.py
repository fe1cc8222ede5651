"""The outbox in memory: lanes that are locked, numbered and appended to at COMMIT (O1, O2, O4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waybill.messaging.adapters.memory.database import in_memory
from waybill.messaging.core import crash_points
from waybill.messaging.core.lanes import ALL_LANES, DEAD_LETTER_LANE, lane_of
from waybill.messaging.core.message import DEAD_LETTER_SUFFIXES, Message
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX, check_size

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Transaction


class OutboxRow(NamedTuple):
    """One message where it stands in its lane."""

    seq: int
    message: Message


class MemoryOutbox:
    """Implements `Outbox`. `lanes` holds what committed, in order."""

    def __init__(self, *, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self.lanes: tuple[list[OutboxRow], ...] = tuple([] for _ in range(ALL_LANES))
        self.reported: dict[str, dict[int, tuple[int, UUID | None]]] = {}
        """What readers reported after their commits, by consumer and lane."""
        self._message_bytes_max = message_bytes_max
        self._seq = 0
        self._listeners: set[asyncio.Event] = set()

    @property
    def messages(self) -> list[Message]:
        """All committed messages by seq."""
        return [row.message for row in sorted(row for lane in self.lanes for row in lane)]

    def append(self, transaction: Transaction, messages: Iterable[Message]) -> None:
        """See Outbox."""
        buffered = transaction.buffer(self._flush)
        for message in messages:
            check_size(message, self._message_bytes_max)
            buffered.append(message)

    async def _flush(self, transaction: Transaction, buffered: Sequence[Message]) -> None:
        memory = in_memory(transaction)
        if crash_points.hook is not None:
            await crash_points.hook("outbox.before_append", buffered[0].producer)
        lanes = [lane_of_message(message) for message in buffered]
        for lane in sorted(set(lanes)):
            await memory.lock(f"outbox lane of {id(self)}", lane)
        numbered = []
        for lane, message in zip(lanes, buffered, strict=True):
            self._seq += 1
            numbered.append((lane, OutboxRow(self._seq, message)))
        memory.on_apply(lambda: self._apply(numbered))
        if crash_points.hook is not None:
            await crash_points.hook("outbox.after_append", buffered[0].producer)

    def _apply(self, numbered: list[tuple[int, OutboxRow]]) -> None:
        for lane, row in numbered:
            self.lanes[lane].append(row)
        for event in self._listeners:
            event.set()

    def listen(self, event: asyncio.Event) -> None:
        """Set `event` at every commit that appended."""
        self._listeners.add(event)

    def forget(self, event: asyncio.Event) -> None:
        """End `listen`."""
        self._listeners.discard(event)


def lane_of_message(message: Message) -> int:
    """The lane of the key, or the one of the dead letters (O4)."""
    if message.topic.endswith(DEAD_LETTER_SUFFIXES):
        return DEAD_LETTER_LANE
    return lane_of(message.key)

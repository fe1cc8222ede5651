"""A log in memory that a relay writes to; a test decides when it stalls, fails or refuses."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import MessagingError, TransientError, UnsendableError
from waybill.messaging.core.ports import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.messaging.core.message import Record


class _Lane:
    """Runs of one lane follow each other; an error ends all that wait."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.errors = 0
        self.error: MessagingError | None = None


class MemoryLogWriter:
    """Implements `LogWriter`. `topics` has what is written, in order.

    `fault` is called with each record before it is written and may raise: UnsendableError, or
    TransientError for an outage. While `is_open` is False nothing is acknowledged, and nothing of
    the lanes in `stalled` (`open` ends both).
    """

    def __init__(
        self,
        *,
        identity: str = "memory",
        value_bytes_max: int = 1_000_000,
        fault: Callable[[Record], None] = lambda _record: None,
    ) -> None:
        self.topics: defaultdict[str, list[Record]] = defaultdict(list)
        self.is_open = True
        self.stalled: set[int] = set()
        self.fault = fault
        self.log_identity = identity
        self.value_bytes_max = value_bytes_max
        self._lanes: defaultdict[tuple[str, int], _Lane] = defaultdict(_Lane)
        self._moved = asyncio.Condition()

    async def identity(self) -> str:
        """See LogWriter."""
        return self.log_identity

    async def write(self, records: Sequence[Record]) -> Written:
        """See LogWriter."""
        lane = self._lanes[records[0].source, records[0].lane]
        errors = lane.errors
        async with lane.turn:
            async with self._moved:
                await self._moved.wait_for(
                    lambda: self._takes(records[0].lane) or lane.errors != errors
                )
            if lane.errors != errors:
                return Written(0, lane.error)
            for count, record in enumerate(records):
                try:
                    self._put(record)
                except MessagingError as error:
                    lane.errors += 1
                    lane.error = error
                    return Written(count, error)
            return Written(len(records))

    def _takes(self, lane: int) -> bool:
        return self.is_open and lane not in self.stalled

    def _put(self, record: Record) -> None:
        self.fault(record)
        size = len(record.message.value)
        if size > self.value_bytes_max:
            raise UnsendableError(f"a value of {size} bytes is above {self.value_bytes_max}")
        self.topics[record.message.topic].append(record)

    async def open(self) -> None:
        """Acknowledge again."""
        async with self._moved:
            self.is_open = True
            self.stalled.clear()
            self._moved.notify_all()

    async def purge(self) -> None:
        """See LogWriter."""
        async with self._moved:
            for lane in self._lanes.values():
                lane.errors += 1
                lane.error = TransientError("purged")
            self._moved.notify_all()

    async def close(self) -> None:
        """See LogWriter."""
        await self.purge()

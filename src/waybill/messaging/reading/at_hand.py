"""What a reader has of one source and has not handed out: rows read, and commits heard of.

A commit of the same process need not be read (ADR 0021): a message that follows on what was read
of its lane is taken as read. Commits are told in any order, so one may come before the one that
stands before it; it waits for that one, which comes a moment later or is looked for.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

from waybill.messaging.core.message import Record
from waybill.messaging.core.outbox_row import BATCH_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Appended
    from waybill.messaging.reading.ports import Lanes

HEARD_MAX = 2_000
"""A reader that is so many messages behind takes no more from its process; it reads them later."""

Scanned = tuple[int, int, "UUID | None", "Record | None"]
"""Lane, seq and id of a row, and its record if its topic is wanted."""

_BY_SEQ = attrgetter("seq")


class AtHand:
    """Every lane in its order. Falsy when nothing can be handed out."""

    def __init__(self, source: str, topics: frozenset[str], monotonic: Callable[[], float]) -> None:
        self.missed_at: float | None = None
        """Since when something stands between what was read and what came early, if it does."""
        self._source = source
        self._topics = topics
        self._monotonic = monotonic
        self._ready: deque[Scanned] = deque()
        self._ready_bytes = 0
        self._early: list[Appended] = []
        self._early_bytes = 0

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def has_room(self) -> bool:
        """Whether more may be heard, or read ahead."""
        return (
            len(self._ready) + len(self._early) < HEARD_MAX
            and self._ready_bytes + self._early_bytes < BATCH_BYTES_MAX
        )

    def read(self, row: Scanned) -> None:
        """The next row of its lane."""
        self._ready.append(row)

    def hear(self, appended: Sequence[Appended], fetched: Lanes) -> tuple[bool, bool]:
        """Take as read what follows on `fetched`, which moves.

        Returns whether there is something for the consumer to look after, and whether all of it
        found room. Old news is harmless: what stands before a message in its lane never changes.
        """
        wakes, fits = False, True
        early, self._early, self._early_bytes = self._early, [], 0
        if early:
            appended = sorted([*early, *appended], key=_BY_SEQ)
        for each in appended:
            lane, message = each.lane, each.message
            position = fetched.positions[lane]
            if position >= each.seq:
                continue
            if not self.has_room:
                fits = False
                continue
            if position < each.before:
                self._early.append(each)
                self._early_bytes += len(message.value)
                continue
            fetched.move(lane, each.seq, message.id)
            record = None
            if message.topic in self._topics:
                record = Record(self._source, lane, each.seq, message)
                self._ready_bytes += len(message.value)
                wakes = True
            self._ready.append((lane, each.seq, message.id, record))
        if not self._early:
            self.missed_at = None
        elif self.missed_at is None:
            self.missed_at, wakes = self._monotonic(), True
        return wakes or not fits, fits

    def take(self, limit: int) -> list[Scanned]:
        """Hand out rows in the order in which they were read."""
        if len(self._ready) <= limit:
            taken = list(self._ready)
            self._ready.clear()
            self._ready_bytes = 0
            return taken
        return [self._ready.popleft() for _ in range(limit)]

    def clear(self) -> None:
        """Forget it all."""
        self._ready.clear()
        self._early.clear()
        self._ready_bytes = self._early_bytes = 0
        self.missed_at = None

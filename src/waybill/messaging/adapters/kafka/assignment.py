"""What one member of a group has been given, and how far it is: shared by its loop and its thread.

A generation is counted up at every change. What was read under an older one than a partition's
own is dropped, so nothing that was fetched before a rebalance or a seek gets through.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.messaging.adapters.kafka.headers import Consumed

REWINDS_MAX = 3
Place = tuple[str, int]
"""Topic and partition."""


class Chunk(NamedTuple):
    """What one poll brought, and under which generation."""

    generation: int
    messages: Sequence[Consumed]


class Assigned:
    """A partition that this member was given."""

    __slots__ = (
        *("acknowledged", "generation", "handed", "is_ready", "is_revoked", "log"),
        *("rewinds_left", "rewound_from"),
    )

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.is_ready = False
        """Its start is known; until then nothing of it is handed out."""
        self.is_revoked = False
        """A rebalance waits for it: nothing more is handed out."""
        self.log = ""
        self.handed = -1
        """The last offset that was handed out."""
        self.acknowledged = -1
        """The last offset that is committed in the consumer's database."""
        self.rewound_from = -1
        """The last offset handed out before a rewind, until the first record behind it came."""
        self.rewinds_left = 0

    @property
    def is_open(self) -> bool:
        """Whether something was handed out that is not committed."""
        return self.handed > self.acknowledged


class Assignment:
    """Everything under one lock. The loop takes records, the thread brings them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.generation = 0
        self.partitions: dict[Place, Assigned] = {}
        self.chunks: deque[Chunk] = deque()
        self.buffered = 0
        """Messages in chunks."""
        self.to_commit: dict[Place, int] = {}
        """Offsets to tell the broker, one behind the last that was read."""
        self.lost: Place | None = None
        """A partition that went while something of it was open: drop the batch, rewind."""

    def give(self, places: Iterable[Place]) -> int:
        """These are ours from now on, once their start is known; the generation of that."""
        with self.changed:
            self.generation += 1
            for place in places:
                self.partitions[place] = Assigned(self.generation)
            return self.generation

    def revoke(self, places: Sequence[Place]) -> None:
        """Hand out nothing more of these."""
        with self.changed:
            for place in places:
                if place in self.partitions:
                    self.partitions[place].is_revoked = True

    def wait_closed(self, places: Sequence[Place], seconds: float) -> bool:
        """Wait until all that was handed out of these is committed; whether it is."""
        with self.changed:
            return self.changed.wait_for(lambda: not self._open_ones(places), seconds)

    def drop(self, places: Sequence[Place]) -> None:
        """These are another member's now."""
        with self.changed:
            for place in self._open_ones(places):
                self.lost = place
            self.generation += 1
            for place in places:
                self.partitions.pop(place, None)
                self.to_commit.pop(place, None)

    def restart(self, places: Iterable[Place]) -> int:
        """What was handed out or buffered of these does not count; the generation from which on."""
        with self.changed:
            self.generation += 1
            for place in places:
                if (assigned := self.partitions.get(place)) is not None:
                    assigned.generation = self.generation
                    if assigned.is_open:
                        assigned.rewound_from = assigned.handed
                        assigned.rewinds_left = REWINDS_MAX
                    assigned.handed = assigned.acknowledged
            return self.generation

    def start(self, place: Place, generation: int, log: str, last: int) -> bool:
        """Hand out what stands behind `last`; False if it was given or taken anew meanwhile."""
        with self.changed:
            assigned = self.partitions.get(place)
            if assigned is None or assigned.generation != generation:
                return False
            assigned.log, assigned.handed, assigned.acknowledged = log, last, last
            assigned.is_ready = True
            return True

    def acknowledge(self, place: Place, offset: int) -> None:
        """Everything up to here is committed in the database."""
        with self.changed:
            assigned = self.partitions.get(place)
            if assigned is not None and assigned.acknowledged < offset <= assigned.handed:
                assigned.acknowledged = offset
                self.to_commit[place] = offset + 1
                self.changed.notify_all()

    def push(self, chunk: Chunk) -> None:
        """The thread has read these."""
        with self.changed:
            self.chunks.append(chunk)
            self.buffered += len(chunk.messages)

    def offsets(self, places: Iterable[Place] | None = None) -> dict[Place, int]:
        """Take what is to be told to the broker, of these partitions or of all."""
        with self.changed:
            wanted = list(self.to_commit if places is None else places)
            return {
                place: offset
                for place in wanted
                if (offset := self.to_commit.pop(place, None)) is not None
            }

    def _open_ones(self, places: Sequence[Place]) -> list[Place]:
        return [
            place for place in places if place in self.partitions and self.partitions[place].is_open
        ]

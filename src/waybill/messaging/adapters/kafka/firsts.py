"""First records of a producer, each alone on its way to its partition (protocol L2, L4).

A broker refuses a batch behind one that it has refused, since a sequence number is missing; but of
a producer that it has nothing of in a partition it takes any batch as the first. So a record would
be in the log before, or without, the refused one of its key that was sent just ahead of it. (A
broker forgets who has written nothing for a day, `producer.id.expiration.ms`; we do not.)
"""

from __future__ import annotations

from collections import defaultdict

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF

Place = tuple[str, int]
"""A topic and a partition."""


class Firsts:
    """What one producer has in which partitions. `partitions` is how many each topic has (C11)."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known: defaultdict[str, set[int]] = defaultdict(set)
        self._under_way: set[Place] = set()

    def place(self, topic: str, key: bytes | None) -> Place | None:
        """Where a record would be this producer's first one; None where it has written before.

        Without a key there is no order to keep.
        """
        known = self._known[topic]
        if key is None or len(known) == self._partitions:
            return None
        partition = partition_of(key, self._partitions)
        return None if partition in known else (topic, partition)

    def wait(self, place: Place) -> bool:
        """Whether another record is on its way there, of which nothing is known yet."""
        return place in self._under_way

    def begin(self, place: Place) -> None:
        """It is on its way."""
        self._under_way.add(place)

    def end(self, place: Place, *, is_written: bool) -> None:
        """Its report is there."""
        self._under_way.discard(place)
        if is_written:
            topic, partition = place
            self._known[topic].add(partition)


def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's clients put a key: MurmurHash2 (32 bits, public domain) by Kafka's seed."""
    mixed = _SEED ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        mixed = mixed * _MULTIPLIER & _MASK ^ word
    if rest := key[whole:]:
        mixed = (mixed ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    mixed = (mixed ^ mixed >> 13) * _MULTIPLIER & _MASK
    return ((mixed ^ mixed >> 15) & 0x7FFFFFFF) % partitions

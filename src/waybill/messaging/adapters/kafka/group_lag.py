"""How far a consumer group is behind, as anybody may ask the brokers: for metrics, not for work."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from waybill.messaging.adapters.kafka.admin import Admin, Place, answer
from waybill.messaging.adapters.kafka.errors import in_thread
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

SAMPLES_MAX = 1_000
"""Of a partition's end; a group that is behind all of them is older than it seems."""
REQUEST_SECONDS = 3.0
"""Below a look's own limit: brokers that do not answer are away."""


class Behind(NamedTuple):
    """Records of a partition that the group has not read, and for how long the oldest waits."""

    records: int
    seconds: float


class Ages:
    """When each end of a partition was first seen: what stands behind an offset came after it."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=SAMPLES_MAX)

    def oldest_seconds(self, offset: int, end: int, now: float) -> float:
        """Age of the record at `offset`, as far as it was watched; 0 if there is none yet."""
        if not self._seen or end != self._seen[-1][0]:
            self._seen.append((end, now))
        while len(self._seen) > 1 and self._seen[0][0] <= offset:
            self._seen.popleft()
        first, at = self._seen[0]
        return now - at if offset < first else 0.0


class GroupLag:
    """One group on its topics. `monotonic` is in seconds.

    `read` tells the next offset that the group reads, by its own database (protocol C15); without
    it the brokers are asked for what it has committed there.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topics: Iterable[str],
        monotonic: Callable[[], float],
        *,
        read: Callable[[], Awaitable[Mapping[Place, int]]] | None = None,
    ) -> None:
        self._settings = settings
        self._group = group
        self._partitions = [
            TopicPartition(topic, number)
            for topic in sorted(topics)
            for number in range(settings.partitions)
        ]
        self._monotonic = monotonic
        self._ages: dict[Place, Ages] = {}
        self._read = read
        self._admin = Admin(settings, REQUEST_SECONDS)
        self._consumer: Consumer | None = None

    async def look(self) -> dict[Place, Behind]:
        """By topic and partition, those left out that are not there. Raises TransientError."""
        ask, partitions = self._admin.offsets, self._partitions
        ends = await ask(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # its gap
        begins = await ask(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # as above
        read = await (self._read or self._committed)()
        now = self._monotonic()
        found = {}
        for place, end in ends.items():
            # Nothing yet, or below what the log still has: all that is there is unread.
            offset = max(read.get(place, -1), begins.get(place, 0))
            seconds = self._ages.setdefault(place, Ages()).oldest_seconds(offset, end, now)
            found[place] = Behind(max(0, end - offset), seconds)
        return found

    async def _committed(self) -> dict[Place, int]:
        # Not the admin client's own question: it ends the process when the group's coordinator
        # answers with an error (librdkafka 2.16 looks for the client's group, and it has none).
        client = self._asker()
        seconds = REQUEST_SECONDS
        try:
            found = await in_thread(partial(client.committed, self._partitions, timeout=seconds))
        except TransientError:
            self._consumer = None
            await asyncio.to_thread(client.close)
            raise
        return {(each.topic, each.partition): each.offset for each in found}

    def _asker(self) -> Consumer:
        """A client of the group that is no member of it."""
        if self._consumer is None:
            properties = {**self._settings.client(), "group.id": self._group, "log_level": 0}
            self._consumer = Consumer({**properties, "enable.auto.commit": False})
        return self._consumer


class GroupMembers:
    """How many members groups have."""

    def __init__(self, settings: KafkaSettings, groups: Iterable[str]) -> None:
        self._groups = sorted(set(groups))
        self._admin = Admin(settings, REQUEST_SECONDS)

    async def look(self) -> dict[str, int]:
        """By group, 0 for one that the brokers do not know. Raises TransientError."""
        client = self._admin.open()
        asked = client.describe_consumer_groups(self._groups, request_timeout=REQUEST_SECONDS)
        found = {}
        for group, future in asked.items():
            told = await answer(future)
            found[group] = len(told.members) if told is not None else 0
        return found

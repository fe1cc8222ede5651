"""How far a consumer group is behind, as anybody may ask the brokers: for metrics, not for work."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from waybill.messaging.adapters.kafka.errors import MISSING_TOPIC, error_of, in_thread, outage
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from concurrent.futures import Future

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

Place = tuple[str, int]

SAMPLES_MAX = 1_000
"""Of a partition's end; a group that is behind all of them is older than it seems."""
STALE = frozenset({KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH})
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
        self._client: AdminClient | None = None
        self._replaced: AdminClient | None = None
        self._consumer: Consumer | None = None

    async def look(self) -> dict[Place, Behind]:
        """By topic and partition, those left out that are not there. Raises TransientError.

        A client that knew a partition's leader before the brokers restarted is refused for ever
        ("Leader epoch is older than broker epoch"), so it is replaced then.
        """
        try:
            return await self._look()
        except TransientError as error:
            told = error_of(error.__cause__)
            if told is not None and told.code() in STALE:
                # Ended while its callback still runs it takes the process along: one is kept.
                self._replaced, self._client = self._client, None
            raise

    async def _look(self) -> dict[Place, Behind]:
        ends = await self._offsets(OffsetSpec.latest())  # type: ignore[no-untyped-call]  # its gap
        begins = await self._offsets(OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # as above
        read = await (self._read or self._committed)()
        now = self._monotonic()
        found = {}
        for place, end in ends.items():
            # Nothing yet, or below what the log still has: all that is there is unread.
            offset = max(read.get(place, -1), begins.get(place, 0))
            seconds = self._ages.setdefault(place, Ages()).oldest_seconds(offset, end, now)
            found[place] = Behind(max(0, end - offset), seconds)
        return found

    async def _offsets(self, spec: OffsetSpec) -> dict[Place, int]:
        asked = self._open().list_offsets(
            dict.fromkeys(self._partitions, spec), request_timeout=REQUEST_SECONDS
        )
        found = {}
        for partition, future in asked.items():
            answer = await _answer(future)
            if answer is not None:
                found[partition.topic, partition.partition] = int(answer.offset)
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

    def _open(self) -> AdminClient:
        if self._client is None:
            # Its errors are raised; its log has nobody who would serve it.
            self._client = AdminClient({**self._settings.client(), "log_level": 0})
        return self._client


class GroupMembers:
    """How many members groups have."""

    def __init__(self, settings: KafkaSettings, groups: Iterable[str]) -> None:
        self._groups = sorted(set(groups))
        self._client = AdminClient({**settings.client(), "log_level": 0})

    async def look(self) -> dict[str, int]:
        """By group, 0 for one that the brokers do not know. Raises TransientError."""
        asked = self._client.describe_consumer_groups(self._groups, request_timeout=REQUEST_SECONDS)
        found = {}
        for group, future in asked.items():
            answer = await _answer(future)
            found[group] = len(answer.members) if answer is not None else 0
        return found


async def _answer(future: Future[Any]) -> Any:  # noqa: ANN401 - the client's own types
    """None if there is no such topic. Raises TransientError."""
    try:
        return await asyncio.wrap_future(future)
    except KafkaException as error:
        told = error_of(error)
        if told is None:
            raise TransientError(f"Kafka: {error}") from error
        if told.code() in MISSING_TOPIC:
            return None
        raise outage(told) from error

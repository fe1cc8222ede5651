"""One admin client: opened when it is needed, replaced when what it knows is from before a restart.

A client that knew a partition's leader before its broker restarted is refused for ever ("Leader
epoch is older than broker epoch"): what it was asked is then asked of a new one.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from waybill.messaging.adapters.kafka.errors import MISSING_TOPIC, error_of, in_thread, outage
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

Place = tuple[str, int]
"""Topic and partition."""

STALE = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)
"""Somebody else leads by now, or will in a moment."""
NO_LEADERS = KafkaError._NOENT  # noqa: SLF001 - the library's own name for its own codes
"""Of none of the partitions that were asked about: their topics are missing, or were just made."""
RETRY_SECONDS = 0.1


class Admin:
    """Asks brokers about themselves. `request_seconds` is the longest that a question takes."""

    def __init__(self, settings: KafkaSettings, request_seconds: float) -> None:
        self.request_seconds = request_seconds
        self._settings = settings
        self._client: AdminClient | None = None
        self._replaced: AdminClient | None = None

    def open(self) -> AdminClient:
        """The client."""
        if self._client is None:
            # Its errors are raised; its log has nobody who would serve it.
            self._client = AdminClient({**self._settings.client(), "log_level": 0})
        return self._client

    def renew(self) -> None:
        """The next question is a new client's."""
        if self._client is not None:
            # Ended while its callback still runs it takes the process along: one is kept.
            self._replaced, self._client = self._client, None

    async def offsets(
        self, partitions: Iterable[TopicPartition], spec: OffsetSpec
    ) -> dict[Place, int]:
        """Of these partitions, those left out that are not there. Raises TransientError."""
        wanted = dict.fromkeys(partitions, spec)
        if not wanted:
            return {}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.request_seconds
        while True:
            try:
                return await self._offsets(wanted)
            except TransientError as error:
                told = error_of(error.__cause__)
                if told is None or told.code() not in STALE or loop.time() > deadline:
                    raise
            self.renew()
            await asyncio.sleep(RETRY_SECONDS)

    async def _offsets(self, wanted: dict[TopicPartition, OffsetSpec]) -> dict[Place, int]:
        found = await self._told(wanted, absent=MISSING_TOPIC | {NO_LEADERS})
        missing = {
            partition: spec
            for partition, spec in wanted.items()
            if (partition.topic, partition.partition) not in found
        }
        if not missing:
            return found
        # Who asked for a topic before it was made is told so for ever, until all are listed.
        listing = partial(self.open().list_topics, timeout=self.request_seconds)
        topics = (await in_thread(listing)).topics
        there = {each: spec for each, spec in missing.items() if each.topic in topics}
        return found | (await self._told(there) if there else {})

    async def _told(
        self, wanted: dict[TopicPartition, OffsetSpec], *, absent: frozenset[int] = MISSING_TOPIC
    ) -> dict[Place, int]:
        asked = self.open().list_offsets(wanted, request_timeout=self.request_seconds)
        found = {}
        for place, future in asked.items():
            told = await answer(future, place.topic, absent=absent)
            if told is not None:
                found[place.topic, place.partition] = int(told.offset)
        return found


async def answer(
    future: Future[Any], topic: str = "", *, absent: frozenset[int] = MISSING_TOPIC
) -> Any:  # noqa: ANN401 - the client's own types
    """What the brokers answered; None for an error that says `absent`. Raises TransientError."""
    try:
        return await asyncio.wrap_future(future)
    except KafkaException as error:
        told = error_of(error)
        if told is None:
            raise TransientError(f"Kafka: {error}") from error
        if told.code() in absent:
            return None
        raise outage(told, topic) from error

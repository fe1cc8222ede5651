"""Topics as they are documented: what is missing is made, what is different is refused.

Protocol C11: with another number of partitions a key would move, and lose its order.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType
from confluent_kafka.cimpl import NewTopic

from waybill.messaging.adapters.kafka.admin import Admin, Place, answer
from waybill.messaging.adapters.kafka.errors import (
    MISSING_TOPIC,
    NOT_ALLOWED,
    error_of,
    in_thread,
    outage,
)
from waybill.messaging.adapters.kafka.retention import check_retention
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

Result = TypeVar("Result")
PROTOCOLS_PROPERTY = "group.coordinator.rebalance.protocols"
CREATED_SECONDS_MAX = 10.0
CREATED_POLL_SECONDS = 0.05

logger = logging.getLogger(__name__)


class Topics:
    """What of the cluster's topics a service needs to know. One admin client."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin = Admin(settings, settings.request_timeout_seconds)
        self._cluster_id = ""
        self._led: set[str] = set()
        """Topics of which each partition was seen with a leader."""
        self._kept: set[str] = set()
        """Topics whose retention was looked at, or is what we gave them."""

    async def prepare(self, names: Iterable[str]) -> None:
        """Create those that are missing, then check all of them. May be repeated and raced.

        Raises ConfigurationError (another number of partitions, or a retention that outbox and
        inbox were not told of) or TransientError (the cluster cannot be asked now, or does not let
        this client create one).
        """
        wanted = sorted(set(names))
        known = await self.describe(wanted)
        missing = [name for name in wanted if name not in known]
        if missing:
            await self._create(missing)
        if missing or not self._led.issuperset(wanted):
            known = await self._until_known(wanted)
        for name, (_, partitions) in known.items():
            if partitions != self._settings.partitions:
                raise ConfigurationError(
                    f"topic {name} has {partitions} partitions, KAFKA_PARTITIONS says "
                    f"{self._settings.partitions}: set it to {partitions} in every service, or "
                    "drain, delete the topic and let it be created anew; partitions added to a "
                    "topic move keys and break their order"
                )
        await check_retention(self._admin, known.keys() - self._kept, self._settings)
        self._kept.update(known)

    async def describe(self, names: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Id and number of partitions of those that exist. Raises TransientError."""
        futures = self._admin.open().describe_topics(
            TopicCollection(list(names)), request_timeout=self._settings.request_timeout_seconds
        )
        found: dict[str, tuple[str, int]] = {}
        for name, future in futures.items():
            try:
                topic = await self._answer(future)
            except KafkaException as error:
                told = error_of(error)
                if told is None or told.code() not in MISSING_TOPIC:
                    raise self._translated(error, name) from error
            else:
                found[name] = (str(topic.topic_id), len(topic.partitions))
                if all(partition.leader is not None for partition in topic.partitions):
                    self._led.add(name)
        return found

    async def cluster_id(self) -> str:
        """The id that the cluster gave itself. Raises TransientError."""
        future = self._admin.open().describe_cluster(
            request_timeout=self._settings.request_timeout_seconds
        )
        try:
            return str((await self._answer(future)).cluster_id)
        except KafkaException as error:
            raise self._translated(error) from error

    async def logs(self, names: Iterable[str]) -> dict[str, str]:
        """What tells each topic from another of its name: cluster id and topic id."""
        if not self._cluster_id:
            self._cluster_id = await self.cluster_id()
        found = await self.describe(names)
        return {name: f"{self._cluster_id}/{topic_id}" for name, (topic_id, _) in found.items()}

    async def group_protocol(self) -> str:
        """`consumer` (KIP-848) if every broker asked has it, else `classic`. TransientError."""
        client, seconds = self._admin.open(), self._settings.request_timeout_seconds
        brokers = (await in_thread(partial(client.list_topics, timeout=seconds))).brokers
        asked = ConfigResource(ResourceType.BROKER, str(min(brokers)))
        (future,) = client.describe_configs([asked], request_timeout=seconds).values()
        try:
            configuration = await self._answer(future)
        except KafkaException as error:
            told = error_of(error)
            if told is not None and told.code() in NOT_ALLOWED:
                return "classic"
            raise self._translated(error) from error
        spoken = configuration.get(PROTOCOLS_PROPERTY)
        return "consumer" if spoken is not None and "consumer" in spoken.value else "classic"

    async def end_offsets(self, names: Iterable[str]) -> dict[Place, int]:
        """One behind the last record of every partition of these. Raises TransientError."""
        spec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # its gap
        return await self._admin.offsets(await self._partitions(names), spec)

    async def first_offsets(self, names: Iterable[str]) -> dict[Place, int]:
        """The first that every partition of these still has. Raises TransientError."""
        spec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # as above
        return await self._admin.offsets(await self._partitions(names), spec)

    async def empty(self, names: Iterable[str]) -> None:
        """Delete every record that these have now; the topics stay. Raises TransientError."""
        ends = await self.end_offsets(names)
        places = [TopicPartition(topic, number, end) for (topic, number), end in ends.items()]
        if not places:
            return
        futures = self._admin.open().delete_records(
            places, request_timeout=self._settings.request_timeout_seconds
        )
        for place, future in futures.items():
            await answer(future, place.topic)

    async def _partitions(self, names: Iterable[str]) -> list[TopicPartition]:
        known = await self.describe(names)
        return [
            TopicPartition(name, number)
            for name, (_, count) in known.items()
            for number in range(count)
        ]

    async def _create(self, names: Iterable[str]) -> None:
        settings = self._settings
        config = {
            "retention.ms": str(round(settings.retention_seconds * 1000)),
            # A record of the limit, and what a batch of one has around it.
            "max.message.bytes": str(settings.record_bytes_max + 4096),
        }
        futures = self._admin.open().create_topics(
            [
                NewTopic(
                    name,
                    num_partitions=settings.partitions,
                    replication_factor=settings.replication_factor,
                    config=config,
                )
                for name in names
            ],
            request_timeout=settings.request_timeout_seconds,
        )
        for name, future in futures.items():
            try:
                await self._answer(future)
            except KafkaException as error:
                told = error_of(error)
                if told is not None and told.code() in NOT_ALLOWED:
                    raise TransientError(
                        f"Kafka has no topic {name} and this client may not create it: create it "
                        f"with {settings.partitions} partitions; everything waits meanwhile"
                    ) from error
                if told is None or told.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._translated(error, name) from error
            else:
                self._kept.add(name)
                logger.info("created topic %s with %d partitions", name, settings.partitions)

    async def _until_known(self, names: list[str]) -> dict[str, tuple[str, int]]:
        """A topic is created before every broker knows of it and each partition has a leader.

        And a partition has one before that one serves it: it would refuse the first batch of a
        producer and take the one sent behind it for the first. It answers for its offsets, too.
        """
        try:
            async with asyncio.timeout(CREATED_SECONDS_MAX):
                while True:
                    known = await self.describe(names)
                    if len(known) == len(names) and self._led.issuperset(names):
                        ends = await self.end_offsets(names)
                        if len(ends) == sum(partitions for _, partitions in known.values()):
                            return known
                    await asyncio.sleep(CREATED_POLL_SECONDS)
        except TimeoutError as error:
            raise TransientError(f"topics do not appear: {', '.join(names)}") from error

    async def _answer(self, future: Future[Result]) -> Result:
        """The answer of an admin request, which has a time-out of its own."""
        return await asyncio.wrap_future(future)

    def _translated(self, error: KafkaException, topic: str = "") -> TransientError:
        """What went wrong; the next question is a new client's.

        One that was there before a broker restarted goes on asking with a leader epoch of before.
        """
        self._admin.renew()
        told = error_of(error)
        return TransientError(f"Kafka: {error}") if told is None else outage(told, topic)

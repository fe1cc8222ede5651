"""A Kafka of its own for each side that needs one: one broker, fresh data, this machine."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from scripts.kafka.server import Broker, free_listeners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

PARTITIONS: Final = 6
REQUEST_SECONDS: Final = 10.0


class Kafka:
    """A broker that runs: its address, and what its topics hold."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._looking = Consumer({"bootstrap.servers": bootstrap, "group.id": "benchmark-looks"})

    async def create(self, topics: Iterable[str], *, partitions: int = PARTITIONS) -> None:
        """Create topics whose records carry the broker's own time."""
        settings = {"message.timestamp.type": "LogAppendTime"}
        wanted = [NewTopic(topic, partitions, 1, config=settings) for topic in topics]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for made in admin.create_topics(wanted).values():
            await asyncio.to_thread(made.result, REQUEST_SECONDS)

    async def records(self, topic: str) -> int:
        """How many records the broker has taken."""
        return await asyncio.to_thread(self._records, topic)

    def _records(self, topic: str) -> int:
        found = self._looking.list_topics(topic, REQUEST_SECONDS).topics[topic].partitions
        ends = [
            self._looking.get_watermark_offsets(TopicPartition(topic, number), REQUEST_SECONDS)[1]
            for number in found
        ]
        return sum(ends)

    def close(self) -> None:
        """Look no more."""
        self._looking.close()


@asynccontextmanager
async def running_kafka(directory: Path) -> AsyncIterator[Kafka]:
    """A broker on fresh data below this directory, for as long as this lasts."""
    place = directory / "kafka"
    broker = Broker(place, free_listeners())
    try:
        await asyncio.to_thread(broker.start)
        kafka = Kafka(broker.bootstrap)
        try:
            yield kafka
        finally:
            kafka.close()
    finally:
        broker.kill()
        shutil.rmtree(place, ignore_errors=True)

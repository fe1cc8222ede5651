"""The relay into a real Kafka that refuses records of every kind: no key's order is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.kafka.reading import name_of, read_all
from tests.messaging.postgres.conftest import world
from tests.messaging.postgres.relay_world import FAST, RelayWorld, by_key
from tests.messaging.postgres.test_relay import same_lane

from waybill.messaging.adapters.kafka.writer import KafkaLogWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kafka.broker import OtherBroker

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Message

__all__ = ["world"]

TOPIC_BYTES_MAX = 2_000
OURS_BYTES_MAX = 20_000
COMMITS = 80

pytestmark = pytest.mark.long


class ToKafka(KafkaLogWriter):
    """Kafka's, under the name of the log that this world's outbox feeds."""

    async def identity(self) -> str:
        """See LogWriter."""
        return "memory"


@pytest.fixture
async def topics(kafka: OtherBroker) -> list[str]:
    """One that takes batches of 2,000 bytes, and one that takes all that we send."""
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    small = NewTopic(name_of("small"), 1, config={"max.message.bytes": str(TOPIC_BYTES_MAX)})
    wide = NewTopic(name_of("wide"), 3)
    for made in client.create_topics([small, wide]).values():
        await asyncio.wrap_future(made)
    return [small.topic, wide.topic]


def split(sent: Sequence[Message], small: str) -> list[Message]:
    """What has to be held: each record that is too large, and all of its key behind it."""
    stuck: set[str] = set()
    held = []
    for message in sent:
        limit = TOPIC_BYTES_MAX if message.topic == small else OURS_BYTES_MAX
        if len(message.value) > limit or message.key in stuck:
            stuck.add(message.key)
            held.append(message)
    return held


@pytest.mark.parametrize("seed", range(12))
async def test_keys_keep_their_order_whatever_kafka_refuses(
    world: RelayWorld, kafka: OtherBroker, settings: KafkaSettings, topics: list[str], seed: int
) -> None:
    """Protocol L2, L4: what a topic refuses, what we refuse, purges, little room."""
    random = Random(seed)  # noqa: S311 - a test's
    room = random.choice([1, 3, 10, 1_000])
    ours = replace(settings, record_bytes_max=OURS_BYTES_MAX, in_flight_records_max=room)
    writer = ToKafka(ours)
    small, _ = topics
    keys = ["k", *same_lane("k", 3), "other", *same_lane("other", 1)]
    homes = {key: random.choice([small, *topics]) for key in keys}
    page = random.choice([2, 7, 1_000])
    relay = await world.start(replace(FAST, page_records_max=page), writer=writer)
    for _ in range(COMMITS):
        key = random.choice(keys)
        sizes = random.choices([2, 600, 10_000, 30_000], [10, 10, 1, 1])
        await world.publish(key, value=b"x" * sizes[0], topic=homes[key])
        if random.random() < 0.05:
            await writer.purge()
        for _ in range(random.randrange(20)):
            await asyncio.sleep(0)
    await world.drained()
    await world.stop(relay)
    await writer.close()
    held = split(world.sent, small)
    assert sorted(key for key, _ in await world.held()) == sorted(each.key for each in held)
    arrived = [each for topic in topics for each in await read_all(kafka.bootstrap, topic)]
    assert by_key([each.record.message for each in arrived]) == by_key(world.sent, held)

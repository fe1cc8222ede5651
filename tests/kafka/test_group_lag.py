"""How far a group is behind, as the brokers tell it: what metrics and alerts stand on."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from tests.kafka.records import create_topics

from waybill.messaging.adapters.kafka.group_lag import Behind, GroupLag
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from tests.kafka.broker import OtherBroker


def written(bootstrap: str, topic: str, count: int) -> None:
    """So many records more, all in partition 2."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for _ in range(count):
        producer.produce(topic, b"x", partition=2)
    producer.flush(30)


async def nothing() -> dict[tuple[str, int], int]:
    """A group that has read nothing."""
    return {}


async def first_look(lag: GroupLag) -> dict[tuple[str, int], Behind]:
    """A partition has a leader some time after it was made."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await lag.look()
            except TransientError:
                await asyncio.sleep(0.05)


async def test_what_a_group_has_not_read_is_its_lag(kafka: OtherBroker) -> None:
    """Records behind its position are counted; the oldest is as old as it was watched."""
    name = f"lag-{uuid.uuid1()}"
    create_topics(kafka.bootstrap, [name])
    now = 100.0
    read: dict[tuple[str, int], int] = {}

    async def positions() -> dict[tuple[str, int], int]:
        return read

    settings = KafkaSettings(brokers=kafka.bootstrap)
    lag = GroupLag(settings, name, [name, f"{name}-missing"], lambda: now, read=positions)
    found = await first_look(lag)
    assert set(found) == {(name, number) for number in range(6)}
    assert {(behind.records, behind.seconds) for behind in found.values()} == {(0, 0.0)}
    written(kafka.bootstrap, name, 3)
    assert (await lag.look())[name, 2] == (3, 0.0)
    now = 107.0
    written(kafka.bootstrap, name, 2)
    assert (await lag.look())[name, 2] == (5, 7.0)
    read[name, 2] = 3
    now = 109.0
    assert (await lag.look())[name, 2] == (2, 2.0), "the oldest is one of the second lot"
    read[name, 2] = 5
    assert (await lag.look())[name, 2] == (0, 0.0)


@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_topic_that_is_made_later_has_its_lag_from_then_on(
    kafka: OtherBroker, earlier: int
) -> None:
    """Services start in any order: who looked before a producer made its topic sees it later."""
    name = f"lag-{uuid.uuid1()}"
    known, later = [name] * earlier, f"{name}-later"
    if known:
        create_topics(kafka.bootstrap, known)
    settings = KafkaSettings(brokers=kafka.bootstrap)
    lag = GroupLag(settings, name, [*known, later], lambda: 100.0, read=nothing)
    for _ in range(2):
        assert {topic for topic, _ in await first_look(lag)} == {*known}
    create_topics(kafka.bootstrap, [later])
    written(kafka.bootstrap, later, 1)
    assert (await first_look(lag))[later, 2] == (1, 0.0)


async def test_brokers_that_are_away_are_an_outage() -> None:
    """The look fails within its time; nothing is shown as 0."""
    settings = KafkaSettings(brokers="127.0.0.1:1")
    lag = GroupLag(settings, "g", ["t"], lambda: 0.0, read=nothing)
    with pytest.raises(TransientError):
        await lag.look()

"""A demo or a bench on topics of another platform is refused before anything starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from confluent_kafka import Producer
from tests.kafka.reading import name_of, settings_for
from tests.kafka.records import create_topics

from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.platform.empty_topics import empty_topics, require_empty_topics

if TYPE_CHECKING:
    from tests.kafka.broker import Broker, OtherBroker

    from waybill.blueprints.definition import Blueprint


async def test_topics_with_records_are_refused(kafka: Broker | OtherBroker) -> None:
    """Missing and empty topics are taken; one record is enough to refuse, and it is said where."""
    names = [name_of("empty") for _ in range(2)]
    blueprint = of_topics(names)
    settings = settings_for(kafka.bootstrap)
    await require_empty_topics(None, blueprint)
    await require_empty_topics(settings, blueprint)
    create_topics(kafka.bootstrap, names)
    await require_empty_topics(settings, blueprint)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(names[1], b"x")
    assert producer.flush(30) == 0
    with pytest.raises(ConfigurationError, match=f"records of another platform in {names[1]}"):
        await require_empty_topics(settings, blueprint)


async def test_who_leaves_topics_empty_may_be_followed(kafka: Broker | OtherBroker) -> None:
    """Records and dead letters are gone, the topics are the same; one that is missing is none."""
    (name,) = names = [name_of("left")]
    blueprint = of_topics([*names, name_of("missing")])
    settings = settings_for(kafka.bootstrap)
    dead = name + blueprint.dead_letter_suffix
    create_topics(kafka.bootstrap, [name, dead])
    before = await Topics(settings).logs([name, dead])
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for topic in (name, name, dead):
        producer.produce(topic, b"x", key=b"k")
    assert producer.flush(30) == 0
    with pytest.raises(ConfigurationError, match=f"{name}, {dead}"):
        await require_empty_topics(settings, blueprint)
    await empty_topics(None, blueprint)
    await empty_topics(settings, blueprint)
    await require_empty_topics(settings, blueprint)
    assert await Topics(settings).logs([name, dead]) == before


def of_topics(names: list[str]) -> Blueprint:
    """A blueprint that has nothing else."""
    return cast("Blueprint", SimpleNamespace(topics=names, dead_letter_suffix=".dlq"))


async def test_brokers_that_are_away_are_named() -> None:
    """So that whoever mistyped KAFKA_BROKERS sees it."""
    settings = KafkaSettings(brokers="127.0.0.1:1", request_timeout_seconds=0.5)
    blueprint = of_topics(["order-events"])
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1"):
        await require_empty_topics(settings, blueprint)

"""A demo or a bench on topics of another platform is refused before anything starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from confluent_kafka import Producer
from tests.kafka.reading import name_of, settings_for
from tests.kafka.records import create_topics

from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.platform.empty_topics import require_empty_topics

if TYPE_CHECKING:
    from tests.kafka.broker import Broker, OtherBroker

    from waybill.blueprints.definition import Blueprint


async def test_topics_with_records_are_refused(kafka: Broker | OtherBroker) -> None:
    """Missing and empty topics are taken; one record is enough to refuse, and it is said where."""
    names = [name_of("empty") for _ in range(2)]
    blueprint = cast("Blueprint", SimpleNamespace(topics=names))
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


async def test_brokers_that_are_away_are_named() -> None:
    """So that whoever mistyped KAFKA_BROKERS sees it."""
    settings = KafkaSettings(brokers="127.0.0.1:1", request_timeout_seconds=0.5)
    blueprint = cast("Blueprint", SimpleNamespace(topics=["order-events"]))
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1"):
        await require_empty_topics(settings, blueprint)

"""A stranger's record that no reader can apply, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from confluent_kafka import Producer
from tests.kafka.reading import read

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Collection


VALUE = b'{"data": {"this is": "no event'


def poison_is_a_dead_letter(
    bootstrap: str, topic: str, kind: str, consumers: Collection[str]
) -> None:
    """Each consumer's record in `<topic>.dlq`: key, value and headers as they were, and why."""
    key = str(new_id())
    given = {
        "eventId": str(new_id()).encode(),
        "eventType": kind.encode(),
        "correlationId": b"poisoned-4711",
        "x-of-a-stranger": b"\x00\xff",
    }
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, VALUE, key=key, headers=list(given.items()))
    assert producer.flush(20) == 0
    found = asyncio.run(read(bootstrap, f"{topic}.dlq", len(consumers)))
    told = {each.headers["kafka_dlt-original-consumer-group"].decode() for each in found}
    assert told == set(consumers)
    for each in found:
        assert (each.key, each.value) == (key, VALUE)
        assert {name: each.headers.get(name) for name in given} == given
        assert each.headers["kafka_dlt-original-topic"] == topic.encode()
        assert each.headers["kafka_dlt-exception-fqcn"].endswith(b"UndecodableMessageError")
        assert each.headers["kafka_dlt-exception-message"]

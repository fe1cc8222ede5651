"""Reads a topic as a stranger would, and makes topics that no other test has."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from waybill.messaging.adapters.kafka.headers import to_record
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message as KafkaMessage

    from waybill.messaging.adapters.kafka.headers import Consumed
    from waybill.messaging.core.message import Record

READ_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class Found:
    """A record as a stranger finds it."""

    partition: int
    offset: int
    key: str
    value: bytes
    headers: dict[str, bytes]
    record: Record
    """The same as our consumers take it."""


def name_of(what: str) -> str:
    """A name of this test alone."""
    return f"{what}-{new_id().hex[-12:]}"


def settings_for(bootstrap: str) -> KafkaSettings:
    """Ours, with the short waits of a test."""
    return KafkaSettings(brokers=bootstrap, poll_seconds=0.2, commit_interval_seconds=0.05)


async def read(bootstrap: str, topic: str, count: int) -> Sequence[Found]:
    """So many records of a topic, each partition's in order. Raises TimeoutError."""
    return await asyncio.to_thread(_read, bootstrap, topic, count)


async def read_all(bootstrap: str, topic: str) -> Sequence[Found]:
    """All records of a topic, each partition's in order. Raises TimeoutError."""
    return await asyncio.to_thread(_read, bootstrap, topic, None)


def _read(bootstrap: str, topic: str, count: int | None) -> Sequence[Found]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": name_of("reader"), "fetch.wait.max.ms": 50}
    )
    try:
        partitions = consumer.list_topics(topic, timeout=READ_SECONDS_MAX).topics[topic].partitions
        places = [TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions]
        if count is None:
            ends = [consumer.get_watermark_offsets(p, timeout=READ_SECONDS_MAX) for p in places]
            count = sum(high - low for low, high in ends)
        consumer.assign(places)
        found: list[Found] = []
        deadline = time.monotonic() + READ_SECONDS_MAX
        while len(found) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} has {len(found)} records, not {count}")
            found += [_found(each) for each in consumer.consume(count, 0.05) if not each.error()]
        return found
    finally:
        consumer.close()


def _found(message: KafkaMessage) -> Found:
    raw = cast("Consumed", message)
    headers = {name: value or b"" for name, value in raw.headers() or ()}
    key, value = raw.key() or b"", raw.value() or b""
    return Found(raw.partition(), raw.offset(), key.decode(), value, headers, to_record(raw))

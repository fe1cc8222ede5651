"""Topics, and what stands in them, as any client sees it."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Message

PARTITIONS = 6


def create_topics(bootstrap: str, names: Iterable[str], partitions: int = PARTITIONS) -> None:
    """Make them and wait until they are there."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(name, num_partitions=partitions) for name in names])
    for future in made.values():
        future.result(30)


def records_until(
    bootstrap: str,
    topics: list[str],
    enough: Callable[[list[Message]], bool],
    seconds: float = 60,
) -> list[Message]:
    """Everything in the topics from their beginning, in each partition's order, until enough."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"reading-{uuid.uuid1()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(topics)
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    try:
        while not enough(found):
            if time.monotonic() > deadline:
                raise AssertionError(f"after {seconds} s {topics} hold {len(found)} records only")
            found += [record for record in consumer.consume(500, 0.2) if record.error() is None]
    finally:
        consumer.close()
    return found


def headers_of(record: Message) -> dict[str, bytes]:
    """Its headers that have a value: a null one says the same as one that is not there."""
    pairs = dict(record.headers() or ())
    return {name: value for name, value in pairs.items() if isinstance(value, bytes)}

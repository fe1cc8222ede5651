"""Topics as a stranger reads them: in no group, so nobody's position moves and nobody waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from confluent_kafka import Consumer, KafkaError, TopicPartition

from waybill.messaging.adapters.kafka.errors import outage
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka import Message as KafkaMessage

    from waybill.messaging.adapters.kafka.admin import Place
    from waybill.messaging.adapters.kafka.headers import Consumed
    from waybill.messaging.adapters.kafka.settings import KafkaSettings

PAGE_RECORDS = 1_000
POLL_SECONDS = 0.2
QUIET_SECONDS_MAX = 30.0
"""Brokers that bring nothing for so long, though there is more, are away."""
PREFETCH_KIBIBYTES_MAX = 8 * 1024


def pages(
    settings: KafkaSettings, starts: Mapping[Place, int], ends: Mapping[Place, int]
) -> Iterator[list[Consumed]]:
    """The records from each partition's start to before its end, a page at a time. Blocks.

    Raises TransientError if the brokers do not bring them.
    """
    left = {place: end for place, end in ends.items() if starts.get(place, 0) < end}
    consumer = Consumer(
        {
            **settings.client(),
            "group.id": f"{settings.client_id}-scan",  # never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": PREFETCH_KIBIBYTES_MAX,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(*place, starts.get(place, 0)) for place in left])
        heard_at = time.monotonic()
        while left:
            page = _page(consumer.consume(PAGE_RECORDS, POLL_SECONDS), left)
            if page:
                heard_at = time.monotonic()
                yield page
            elif time.monotonic() - heard_at > QUIET_SECONDS_MAX:
                topics = ", ".join(sorted({topic for topic, _ in left}))
                raise TransientError(f"Kafka brings no more of {topics}, though there is more")
    finally:
        consumer.close()


def _page(messages: list[KafkaMessage], left: dict[Place, int]) -> list[Consumed]:
    """What of these is wanted; partitions that are read to their end leave `left`."""
    wanted = []
    for each in messages:
        place = (str(each.topic()), int(each.partition() or 0))
        error = each.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own name
                left.pop(place, None)
            elif not error.retriable():
                raise outage(error, place[0])
            continue
        message = cast("Consumed", each)
        end = left.get(place)
        if end is None:
            continue
        if message.offset() < end:
            wanted.append(message)
        if message.offset() + 1 >= end:
            del left[place]
    return wanted

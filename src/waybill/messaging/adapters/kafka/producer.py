"""What a producer is told, and how one ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from waybill.messaging.adapters.kafka.errors import served

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

LAST_REPORTS_SECONDS = 0.5

client_log = logging.getLogger(__name__)
"""librdkafka's own lines, without the one at each start that a property of ours is experimental."""
client_log.addFilter(lambda line: not (line.args and "CONFWARN" in line.args))


def producer_properties(settings: KafkaSettings, *, gapless: bool) -> dict[str, Any]:
    """Those of every producer of ours. `gapless`: one that fails stops all behind it (L4)."""
    return {
        **settings.client(),
        "acks": "all",
        "enable.idempotence": True,
        "enable.gapless.guarantee": gapless,
        # Protocol L2: a finite one lets later records pass the expired.
        "message.timeout.ms": 0,
        # Java's own: the same key is in the same partition, whoever writes.
        "partitioner": "murmur2_random",
        # A missing topic is told of soon; half a minute is the default.
        "topic.metadata.propagation.max.ms": 2_000,
        "linger.ms": settings.linger_milliseconds,
        "compression.type": settings.compression,
        "message.max.bytes": settings.record_bytes_max,
        "batch.size": settings.record_bytes_max,
        "queue.buffering.max.messages": settings.in_flight_records_max * 2,
        "queue.buffering.max.kbytes": max(1, settings.in_flight_bytes_max // 1024),
    }


def dispose(producer: Producer) -> None:
    """End a producer without sending what it still has. Blocks; never on the event loop."""
    producer.purge()
    served(lambda: producer.poll(LAST_REPORTS_SECONDS))

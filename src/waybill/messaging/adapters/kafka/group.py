"""What a member of a consumer group is told, by the protocol that the brokers have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waybill.messaging.adapters.kafka.settings import KafkaSettings


def consumer_properties(settings: KafkaSettings, group: str, protocol: str) -> dict[str, Any]:
    """Of a consumer of ours; `protocol` is consumer (KIP-848) or classic."""
    common: dict[str, Any] = {
        **settings.client(),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A position that the log has no more must be seen, not jumped over.
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        # A topic that is created late is found soon.
        "topic.metadata.refresh.interval.ms": 5_000,
        "max.poll.interval.ms": round(settings.poll_interval_seconds_max * 1000),
        "fetch.wait.max.ms": settings.fetch_wait_milliseconds,
        # The default of a second stalls a queue that has just been emptied.
        "fetch.queue.backoff.ms": settings.fetch_queue_backoff_milliseconds,
        "queued.min.messages": settings.prefetch_records_max,
        "queued.max.messages.kbytes": max(1, settings.prefetch_bytes_max // 1024),
        "fetch.max.bytes": max(settings.prefetch_bytes_max, settings.record_bytes_max),
        "message.max.bytes": settings.record_bytes_max,
        "isolation.level": "read_committed",
    }
    if protocol == "consumer":
        return {**common, "group.protocol": "consumer"}
    return {
        **common,
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": round(settings.session_timeout_seconds * 1000),
        "heartbeat.interval.ms": round(settings.heartbeat_seconds * 1000),
    }

"""Topics that were there before us keep no record longer than we were told, and compact none.

A record that outlives its outbox row cannot be sent again from there, and one that outlives its
inbox row would be applied a second time when it is read again (promises P2 and P3).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from waybill.messaging.adapters.kafka.errors import (
    MISSING_TOPIC,
    NOT_ALLOWED,
    error_of,
    outage,
)
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Future

    from waybill.messaging.adapters.kafka.admin import Admin
    from waybill.messaging.adapters.kafka.settings import KafkaSettings

RETENTION, CLEANUP = "retention.ms", "cleanup.policy"
FOR_EVER = -1

logger = logging.getLogger(__name__)


async def check_retention(admin: Admin, names: Iterable[str], settings: KafkaSettings) -> None:
    """Ask for the configuration of these topics, all in one request, and refuse what is too long.

    A client that may not ask is warned, and goes on: whoever runs the brokers knows. Raises
    ConfigurationError or TransientError.
    """
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in sorted(names)]
    if not asked:
        return
    futures = admin.open().describe_configs(asked, request_timeout=admin.request_seconds)
    untold = []
    for resource, future in futures.items():
        told = await _told(future, resource.name)
        if told is None:
            untold.append(resource.name)
            continue
        require_kept(resource.name, told, settings)
    if untold:
        logger.warning(
            "Kafka does not tell this client how long %s keep records: give it DESCRIBE_CONFIGS, "
            "or see yourself that %s is at most KAFKA_RETENTION_SECONDS (%.0f s)",
            ", ".join(untold),
            RETENTION,
            settings.retention_seconds,
        )


def require_kept(name: str, told: Mapping[str, str], settings: KafkaSettings) -> None:
    """Refuse a topic whose configuration is not what outbox and inbox were told."""
    if "compact" in told.get(CLEANUP, ""):
        raise ConfigurationError(
            f"topic {name} is compacted ({CLEANUP}={told[CLEANUP]}): of each order it keeps the "
            f"last event only. Set {CLEANUP}=delete for it"
        )
    kept, limit = int(told.get(RETENTION, 0)), round(settings.retention_seconds * 1000)
    if kept == FOR_EVER:
        raise ConfigurationError(
            f"topic {name} keeps records for ever ({RETENTION}={FOR_EVER}), longer than any inbox: "
            f"one that is read again later would be applied twice (promise P3). Set {RETENTION} of "
            f"the topic to at most {limit} (KAFKA_RETENTION_SECONDS)"
        )
    if kept > limit:
        raise ConfigurationError(
            f"topic {name} keeps records for {kept / 1000:.0f} s ({RETENTION}={kept}), "
            f"KAFKA_RETENTION_SECONDS says {settings.retention_seconds:.0f}: their outbox and "
            f"inbox rows would go first (promises P2, P3). Set KAFKA_RETENTION_SECONDS to at least "
            f"{-(-kept // 1000)} in every service, or {RETENTION} of the topic to at most {limit}"
        )


async def _told(future: Future[Any], topic: str) -> dict[str, str] | None:
    """The topic's configuration; none if it is gone by now, None if it may not be asked for."""
    try:
        entries = await asyncio.wrap_future(future)
    except KafkaException as error:
        found = error_of(error)
        if found is None:
            raise TransientError(f"Kafka: {error}") from error
        if found.code() in MISSING_TOPIC:
            return {}
        if found.code() in NOT_ALLOWED:
            return None
        raise outage(found, topic) from error
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}

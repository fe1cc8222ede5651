"""A platform for the moment begins with empty topics: what another one said is not its orders'.

And one whose data are dropped takes along what it said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.adapters.kafka.settings import KafkaSettings


async def require_empty_topics(kafka: KafkaSettings | None, blueprint: Blueprint) -> None:
    """Nothing to ask without Kafka. Raises ConfigurationError if one of the topics has records.

    New consumers read topics from their start: they would reserve stock for another platform's
    orders, and no books of theirs would balance. Raises TransientError if brokers do not answer.
    """
    if kafka is None:
        return
    from waybill.messaging.adapters.kafka.topics import Topics  # noqa: PLC0415 - only on Kafka

    topics = Topics(kafka)
    names = _names(blueprint)
    try:
        starts, ends = await topics.first_offsets(names), await topics.end_offsets(names)
    except TransientError as error:
        raise TransientError(
            f"Kafka at {kafka.brokers} cannot be asked what its topics hold: start it, or correct "
            f"KAFKA_BROKERS ({error})"
        ) from error
    kept = sorted({topic for (topic, n), end in ends.items() if end > starts.get((topic, n), 0)})
    if kept:
        raise ConfigurationError(
            f"Kafka at {kafka.brokers} has records of another platform in {', '.join(kept)}, and "
            "this one is new: its consumers would take those for its own. Begin with empty topics "
            "(`make kafka-reset` drops those of `make kafka-up`), or run it without KAFKA_BROKERS"
        )


async def empty_topics(kafka: KafkaSettings | None, blueprint: Blueprint) -> None:
    """Nothing to do without Kafka. For a platform that began with empty topics, once it is over.

    Its topics stay: only their records go, so that another one may follow.
    """
    if kafka is None:
        return
    from waybill.messaging.adapters.kafka.topics import Topics  # noqa: PLC0415 - only on Kafka

    await Topics(kafka).empty(_names(blueprint))


def _names(blueprint: Blueprint) -> list[str]:
    """Its topics, and where their dead letters go."""
    return [name + end for name in blueprint.topics for end in ("", blueprint.dead_letter_suffix)]

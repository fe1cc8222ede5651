"""Errors of confluent-kafka, translated once: what can never be sent, and what is an outage."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import KafkaError, KafkaException

from waybill.messaging.core.errors import TransientError, UnsendableError

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

NEVER = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
    }
)
"""A record that gets one of these can never be written as it is (protocol L4); nothing else."""

MISSING_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the library's own name for its own codes
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
    }
)

NOT_ALLOWED = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)
"""Whoever runs the brokers decides: other clients may ask or do this."""


def error_of(raised: BaseException | object) -> KafkaError | None:
    """The KafkaError in an exception, or that was raised itself."""
    if isinstance(raised, KafkaException) and raised.args:
        raised = raised.args[0]
    return raised if isinstance(raised, KafkaError) else None


def sending_error(error: KafkaError, topic: str) -> Exception:
    """What a relay is told of a record for this topic that was not written."""
    if error.code() in NEVER:
        return UnsendableError(f"Kafka does not take the record for {topic}: {error.str()}")
    return outage(error, topic)


def outage(error: KafkaError, topic: str = "") -> TransientError:
    """The same, where only time (or an operator) can help."""
    if error.code() in MISSING_TOPIC:
        return TransientError(
            f"Kafka has no topic {topic!r}, or not this partition: create it as it is documented "
            "(a service does so at its start); everything waits meanwhile"
        )
    if error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    ):
        return TransientError(
            f"Kafka does not let this client use {topic or 'its group'}: {error.str()}; give "
            "it the right, everything waits meanwhile"
        )
    where = f" ({topic})" if topic else ""
    return TransientError(f"Kafka{where}: {error.str() or error.name()}")


def served(call: Callable[[], int]) -> tuple[int, KafkaError | None]:
    """Make a call that serves callbacks: how many it served, or the fatal error that it raised.

    A fatal error is raised as a KafkaError, which is no BaseException: no typed clause catches it.
    """
    try:
        return call(), None
    except:  # noqa: E722 - see above; whatever is not Kafka's goes on
        error = error_of(sys.exc_info()[1])
        if error is None:
            raise
        return 0, error


async def in_thread(call: Callable[[], Result]) -> Result:
    """Make a blocking call of a client beside the loop. Raises TransientError."""
    try:
        return await asyncio.to_thread(call)
    except KafkaException as error:
        found = error_of(error)
        raise outage(found) if found else TransientError(str(error)) from error

"""What an outbox takes, and into which lane: the same for every technology (protocol L4, O4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.lanes import DEAD_LETTER_LANE, lane_of
from waybill.messaging.core.message import DEAD_LETTER_SUFFIXES

if TYPE_CHECKING:
    from waybill.messaging.core.message import Message

MESSAGE_BYTES_MAX = 1_000_000
"""Default limit of a message: below Kafka's default of 1 MiB a record, with room for its frame."""

ENVELOPE_BYTES = 300
"""Room for the fixed part of the envelope: ids, times and the names of the headers."""


def lane_of_message(message: Message) -> int:
    """The lane of its key; 16 for a record of a dead letter topic (protocol O4)."""
    if message.topic.endswith(DEAD_LETTER_SUFFIXES):
        return DEAD_LETTER_LANE
    return lane_of(message.key)


def size_of(message: Message) -> int:
    """Bytes of the record that a log would carry: value, key, headers and envelope."""
    headers = sum(len(name.encode()) + len(value) for name, value in message.headers.items())
    return len(message.value) + len(message.key.encode()) + headers + ENVELOPE_BYTES


def check_size(message: Message, limit: int) -> None:
    """Raise PermanentError for a message that is too large for a log (protocol L4)."""
    size = size_of(message)
    if size > limit:
        reason = (
            f"{message.type} {message.id} takes {size} bytes, the limit message_bytes_max is "
            f"{limit}: send a reference in place of the data"
        )
        raise PermanentError(reason)

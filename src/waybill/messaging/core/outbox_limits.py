"""What an outbox takes, and into which lane: the same for every technology (protocol L4, O4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.lanes import DEAD_LETTER_LANE, lane_of
from waybill.messaging.core.message import DEAD_LETTER_SUFFIXES, TEXT_CHARS_MAX

if TYPE_CHECKING:
    from waybill.messaging.core.message import Message

MESSAGE_BYTES_MAX = 1_000_000
"""Default limit of a message: below Kafka's default of 1 MiB a record, with room for its frame."""

ENVELOPE_BYTES = 300
"""Room for the fixed part of the envelope: ids, times and the names of the headers."""

KEY_CHARS_MAX = TEXT_CHARS_MAX
"""Of a message's key: what every database's columns and every reader take."""


def lane_of_message(message: Message) -> int:
    """The lane of its key; 16 for a record of a dead letter topic (protocol O4)."""
    if message.topic.endswith(DEAD_LETTER_SUFFIXES):
        return DEAD_LETTER_LANE
    return lane_of(message.key)


def size_of(message: Message) -> int:
    """Bytes of the record that a log would carry: value, key, headers and envelope."""
    headers = sum(len(name.encode()) + len(value) for name, value in message.headers.items())
    return len(message.value) + len(message.key.encode()) + headers + ENVELOPE_BYTES


def is_small(message: Message, limit: int) -> bool:
    """Whether it is plain that `check_size` has nothing against it: most messages are small."""
    most = len(message.value) + 4 * len(message.key) + ENVELOPE_BYTES
    return most <= limit and len(message.key) <= KEY_CHARS_MAX and not message.headers


def check_size(message: Message, limit: int) -> None:
    """Raise PermanentError for a message (or its key) that is too large for a log (L4)."""
    if len(message.key) > KEY_CHARS_MAX:
        reason = (
            f"{message.type} {message.id} has a key of {len(message.key)} characters, the limit is "
            f"{KEY_CHARS_MAX}: take an id for the key"
        )
        raise PermanentError(reason)
    size = size_of(message)
    if size > limit:
        reason = (
            f"{message.type} {message.id} takes {size} bytes, the limit message_bytes_max is "
            f"{limit}: send a reference in place of the data"
        )
        raise PermanentError(reason)

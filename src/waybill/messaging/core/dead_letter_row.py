"""A dead letter as a row: the columns of its envelope, the same in every database (protocol C5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.dead_letter_record import (
    ERROR_MESSAGE_CHARS_MAX,
    OMITTED_HEADER,
    STACKTRACE_CHARS_MAX,
    clipped,
)
from waybill.messaging.core.message import (
    EPOCH,
    UNREADABLE_HEADER,
    UNREADABLE_TYPE,
    Message,
    Record,
    storable,
)
from waybill.messaging.core.outbox_row import as_uuid, decode_headers, encode_headers
from waybill.messaging.core.ports import DeadLetter

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Row

ERROR_TYPE_CHARS_MAX = 500

ORIGINAL_ENVELOPE_HEADER = "waybill-original-envelope"
"""What a reduced letter's message said of itself, as far as there is room for it."""
_KEY_CHARS_MAX = 500
_ENVELOPE_CHARS_MAX = 4_000

ENVELOPE = (
    "consumer, message_id, source, topic, lane, seq, key, value, type, version, aggregate_type, "
    "aggregate_version, correlation_id, causation_id, traceparent, producer, headers, occurred_at, "
    "error_type, error_message, stacktrace"
)


def values(letter: DeadLetter) -> tuple[object, ...]:
    """One value a column of ENVELOPE."""
    record, message = letter.record, letter.record.message
    return (
        letter.consumer, message.id, record.source, message.topic, record.lane, record.seq,
        message.key, message.value, message.type, message.version, message.aggregate_type,
        message.aggregate_version, message.correlation_id, message.causation_id,
        message.traceparent, message.producer, encode_headers(message.headers),
        message.occurred_at, clipped(letter.error_type, ERROR_TYPE_CHARS_MAX),
        clipped(letter.error_message, ERROR_MESSAGE_CHARS_MAX),
        clipped(letter.stacktrace, STACKTRACE_CHARS_MAX),
    )  # fmt: skip


def to_dead_letter(row: Row) -> DeadLetter:
    """The letter of a row with the columns of ENVELOPE."""
    message = Message(
        id=as_uuid(row["message_id"]),
        topic=row["topic"],
        type=row["type"],
        key=row["key"],
        value=row["value"],
        occurred_at=row["occurred_at"],
        version=row["version"],
        aggregate_type=row["aggregate_type"],
        aggregate_version=row["aggregate_version"],
        correlation_id=row["correlation_id"],
        causation_id=None if row["causation_id"] is None else as_uuid(row["causation_id"]),
        traceparent=row["traceparent"],
        producer=row["producer"],
        headers=decode_headers(row["headers"]),
    )
    return DeadLetter(
        consumer=row["consumer"],
        record=Record(row["source"], row["lane"], row["seq"], message),
        error_type=row["error_type"],
        error_message=row["error_message"],
        stacktrace=row["stacktrace"],
    )


def reduced(letter: DeadLetter, refusal: str, *, has_value: bool = True) -> DeadLetter:
    """The letter with nothing left that a database might refuse: id, place and value, and why.

    It is unreadable: redriven, it must not be applied with an envelope that is not its own. Without
    its value, which is too large, its place tells where the log has it.
    """
    record, message = letter.record, letter.record.message
    left_out = "envelope" if has_value else f"envelope and its value of {len(message.value)} bytes"
    reason = clipped(f"{letter.error_message} (kept without its {left_out}: {refusal})", 1_000)
    told = clipped(repr(msgspec.structs.replace(message, value=b"")), _ENVELOPE_CHARS_MAX)
    headers = {UNREADABLE_HEADER: reason.encode(), ORIGINAL_ENVELOPE_HEADER: told.encode()}
    if not has_value:
        headers[OMITTED_HEADER] = str(len(message.value)).encode()
    kept = Message(
        id=message.id,
        topic=message.topic,
        type=UNREADABLE_TYPE,
        key=storable(message.key[:_KEY_CHARS_MAX]),
        value=message.value if has_value else b"",
        occurred_at=EPOCH,
        correlation_id=_whole(message.correlation_id),
        traceparent=_whole(message.traceparent or "") or None,
        headers=headers,
    )
    return msgspec.structs.replace(
        letter, record=msgspec.structs.replace(record, message=kept), error_message=reason
    )


def _whole(text: str) -> str:
    """Where a letter belongs is told as it was, or not at all."""
    return text if len(text) <= _KEY_CHARS_MAX and storable(text) == text else ""

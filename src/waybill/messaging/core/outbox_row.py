"""A row of an outbox as a record, whatever the row holds: never an error.

A row whose columns make no sense becomes a record whose value no codec can read, so that it ends
as a dead letter and the messages after it go on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from waybill.messaging.core.message import Message, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VALUE_BYTES_MAX = 16 * 1024 * 1024
"""A larger value is not shipped to a reader: its record becomes a dead letter."""

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""Values of one fetch together, but for the last: memory is bounded whatever the messages are."""

UNREADABLE = b"\xff\xff unreadable outbox row: "
"""Neither JSON nor UTF-8 nor Protobuf begins like this."""

UNREADABLE_HEADER = "waybill-unreadable"
ORIGINAL_VALUE_HEADER = "waybill-original-value"
ORIGINAL_HEADERS_HEADER = "waybill-original-headers"

_HEADERS = msgspec.json.Decoder(dict[str, bytes])
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def as_uuid(value: UUID | bytes) -> UUID:
    """An id as any database gives it."""
    return value if isinstance(value, UUID) else UUID(bytes=value)


def encode_headers(headers: Mapping[str, bytes]) -> str:
    """Headers as the outbox and the dead letters store them: JSON, bytes as base64."""
    return msgspec.json.encode(headers).decode() if headers else "{}"


def decode_headers(text: str) -> dict[str, bytes]:
    """The reverse. Raises msgspec.DecodeError (a ValueError)."""
    return {} if text == "{}" else _HEADERS.decode(text)


def to_record(source: str, row: Iterable[Any]) -> Record:
    """The record of one row with the columns above, in their order."""
    (
        lane, seq, id_, topic, type_, key, version, aggregate_type, aggregate_version,
        correlation_id, causation_id, traceparent, producer, occurred_at, headers, value,
    ) = row  # fmt: skip
    try:
        decoded = decode_headers(headers)
    except (ValueError, TypeError):
        decoded = None
    if decoded is None or value is None or occurred_at is None:
        decoded, value = _unreadable(occurred_at, headers, decoded, value)
    message = Message(
        id=as_uuid(id_),
        topic=topic,
        type=type_,
        key=key,
        value=value,
        occurred_at=occurred_at or _NO_TIME,
        version=version,
        aggregate_type=aggregate_type,
        aggregate_version=aggregate_version,
        correlation_id=correlation_id,
        causation_id=None if causation_id is None else as_uuid(causation_id),
        traceparent=traceparent,
        producer=producer,
        headers=decoded,
    )
    return Record(source, lane, seq, message)


def _unreadable(
    occurred_at: datetime | None,
    headers: str | None,
    decoded: dict[str, bytes] | None,
    value: bytes | None,
) -> tuple[dict[str, bytes], bytes]:
    """Headers that keep what there was, and a value that says what is wrong."""
    wrong = [
        what
        for what, is_wrong in (
            ("occurred_at", occurred_at is None),
            ("headers", decoded is None),
            ("payload (missing or too large)", value is None),
        )
        if is_wrong
    ]
    reason = ", ".join(wrong).encode()
    kept = decoded or {ORIGINAL_HEADERS_HEADER: str(headers).encode(errors="replace")}
    return (
        {**kept, UNREADABLE_HEADER: reason, ORIGINAL_VALUE_HEADER: value or b""},
        UNREADABLE + reason,
    )

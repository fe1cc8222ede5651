"""Records of strangers who know seed 003's JSON envelope and no headers, as messages.

What they leave out is filled in from the record; what is no such envelope is refused with
UndecodableMessageError, and the record ends as a dead letter.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.blueprints.versions import Version
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import Message, storable

if TYPE_CHECKING:
    from waybill.messaging.core.message import ForeignRecord

TRACEPARENT = "traceparent"
SECONDS_MAX = 221_845_392_000
"""Of the epoch, to the year 9000: what a timestamp may say."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _About(msgspec.Struct, rename="camel"):
    order_id: UUID


class _Envelope(msgspec.Struct, rename="camel"):
    event_id: UUID
    event_type: str
    payload: _About
    occurred_at: msgspec.Raw = msgspec.Raw(b"null")
    correlation_id: str | None = None
    causation_id: UUID | None = None
    version: Version = 1


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_instant = msgspec.json.Decoder(datetime).decode


def read_foreign(record: ForeignRecord) -> Message:
    """The message that a record without headers stands for (contracts 1.3).

    `occurredAt` may be ISO 8601 or the decimal number of seconds that Java's mapper writes.
    """
    try:
        envelope = _decode(record.value)
        occurred_at = _instant(bytes(envelope.occurred_at)) or record.timestamp
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise UndecodableMessageError(f"it has no headers and no envelope: {error}") from error
    order_id = str(envelope.payload.order_id)
    others = dict(record.headers)
    traceparent = others.pop(TRACEPARENT, b"").decode("ascii", "replace")
    return Message(
        id=envelope.event_id,
        topic=record.topic,
        type=storable(envelope.event_type),
        key=record.key or order_id,
        value=record.value,
        occurred_at=occurred_at,
        version=envelope.version,
        correlation_id=storable(envelope.correlation_id or order_id),
        causation_id=envelope.causation_id,
        traceparent=storable(traceparent) or None,
        headers=others,
    )


def _instant(content: bytes) -> datetime | None:
    """None if nothing is said. Raises an error of msgspec's or of arithmetic."""
    text = content.strip()
    if text == b"null":
        return None
    if text.startswith(b'"'):
        instant = _decode_instant(text)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    try:
        seconds = Decimal(text.decode())
    except InvalidOperation as error:
        raise msgspec.ValidationError("occurredAt is neither a time nor a number") from error
    if not 0 <= seconds <= SECONDS_MAX:
        raise msgspec.ValidationError("occurredAt lies outside the years 1970 to 9000")
    return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))

"""Messages as Kafka's records and back: envelope in headers, value as it is.

Header names: seed 003 and 004 (`eventId`, `eventType`, …), CloudEvents' binary mode (`ce_*`), W3C
trace context. Whatever a record holds, it becomes a message (never an error): one that nobody
understands gets a value that no codec can read, and ends as a dead letter.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from waybill.messaging.core.errors import PermanentError, UndecodableMessageError
from waybill.messaging.core.message import (
    BIGINT_MAX,
    EPOCH,
    INTEGER_MAX,
    UNREADABLE_HEADER,
    UNREADABLE_TYPE,
    ForeignRecord,
    Message,
    Record,
    check_storable,
    storable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    ReadForeign = Callable[[ForeignRecord], Message]

SPEC_VERSION = b"1.0"
CONTENT_TYPE = b"application/json"
ORIGINAL_TOPIC_HEADER = "kafka_dlt-original-topic"
COLUMN_HEADER = "waybill-headers"
"""The outbox's column `headers` as it is: change data capture cannot take it apart."""

_encode = msgspec.json.Encoder().encode
_decode_column = msgspec.json.Decoder(dict[str, bytes]).decode
_decode_id = msgspec.json.Decoder(UUID).decode
_decode_time = msgspec.json.Decoder(datetime).decode
ORIGINAL_KEY_HEADER = "waybill-original-key"
"""The bytes of a key that is too long for a dead letter's column."""
_REASON_CHARS_MAX = _KEY_CHARS_MAX = _CORRELATION_CHARS_MAX = 500
_MILLISECONDS_MAX = 221_845_392_000_000
"""Of the epoch, to the year 9000: a producer may write any number as its time."""
_NAMES = frozenset(
    (
        *("eventId", "eventType", "eventVersion", "correlationId", "causationId", "traceparent"),
        *("producer", "aggregateType", "aggregateVersion", "content-type", "ce_specversion"),
        *("ce_id", "ce_type", "ce_time", "ce_source", "ce_subject"),
    )
)
_KNOWN_NAMES_MAX = 1_000
_known_names: dict[bytes | None, str] = {}
"""Types and producers are few; a stranger's many are decoded each time."""


Headers = list[tuple[str, str | bytes | None]]


class Consumed(Protocol):
    """A message of confluent-kafka that came without an error."""

    def topic(self) -> str:
        """Its topic."""

    def partition(self) -> int:
        """Its partition."""

    def offset(self) -> int:
        """Its place there."""

    def key(self) -> bytes | None:
        """Its key."""

    def value(self) -> bytes | None:
        """Its value."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """Its headers; the last one of a name counts."""

    def timestamp(self) -> tuple[int, int]:
        """Kind of time and milliseconds since 1970."""


def to_headers(message: Message) -> Headers:
    """The headers of the record. The constant ones too, so that any CloudEvents client reads it.

    A dead letter's record carries the id of its original, which its inbox rows know: copied back
    to the topic by a stranger it is applied by those only that have not applied it.
    """
    id_, causation_id, headers = message.id, message.causation_id, message.headers
    if ORIGINAL_TOPIC_HEADER in headers and causation_id is not None:
        id_, causation_id = causation_id, None
    event_id = _encode(id_)[1:-1]
    type_ = message.type.encode()
    producer = message.producer.encode()
    named: Headers = [
        ("eventId", event_id),
        ("eventType", type_),
        ("eventVersion", b"%d" % message.version),
        ("correlationId", message.correlation_id.encode()),
        ("producer", producer),
        ("ce_specversion", SPEC_VERSION),
        ("ce_id", event_id),
        ("ce_type", type_),
        ("ce_source", b"/" + producer),
        ("ce_subject", message.key.encode()),
        ("ce_time", _encode(message.occurred_at)[1:-1]),
        ("content-type", CONTENT_TYPE),
    ]
    if causation_id is not None:
        named.append(("causationId", _encode(causation_id)[1:-1]))
    if message.traceparent is not None:
        named.append(("traceparent", message.traceparent.encode()))
    if message.aggregate_type:
        named.append(("aggregateType", message.aggregate_type.encode()))
    if message.aggregate_version is not None:
        named.append(("aggregateVersion", b"%d" % message.aggregate_version))
    if headers:
        named.extend(headers.items())
    return named


def to_record(raw: Consumed, read_foreign: ReadForeign | None = None) -> Record:
    """The record of a message of confluent-kafka without error. Never raises for what is in it.

    One without our headers is understood by `read_foreign`, if anybody does; ids of what nobody
    understands follow from its place, so that a repeat has the same one. An envelope that some
    database could not store counts as not understood, or its dead letter would stop the consumer.
    """
    topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
    value, key = raw.value() or b"", raw.key() or b""
    try:
        headers = dict(raw.headers() or ())
        message = _own(topic, key, value, headers)
        if message is None:
            message = _foreign(raw, read_foreign)
        check_storable(message)
    except (PermanentError, ValueError, TypeError, ArithmeticError) as error:
        message = _unreadable(raw, error)
    return Record(topic, partition, offset, message)


def _own(topic: str, key: bytes, value: bytes, headers: dict[str, bytes | None]) -> Message | None:
    """The message that our headers (or CloudEvents') tell of; None if they do not.

    Every record passes here: what is the same in most of them is looked up, not decoded.
    """
    get = headers.get
    event_id = get("eventId") or get("ce_id")
    type_ = get("eventType") or get("ce_type")
    cloud_time = get("ce_time")
    if not event_id or not type_ or not cloud_time:
        return None
    version, causation_id, traceparent = get("eventVersion"), get("causationId"), get("traceparent")
    aggregate_version, correlation_id = get("aggregateVersion"), get("correlationId")
    key_text = _text(key)
    return Message(
        id=_decode_id(b'"%b"' % event_id),
        topic=topic,
        type=_name(type_),
        key=key_text,
        value=value,
        occurred_at=_instant(cloud_time),
        version=1 if version is None or version == b"1" else _number(version, INTEGER_MAX),
        aggregate_type=_name(get("aggregateType")),
        aggregate_version=_number(aggregate_version, BIGINT_MAX) if aggregate_version else None,
        correlation_id=key_text if correlation_id == key else _text(correlation_id),
        causation_id=_decode_id(b'"%b"' % causation_id) if causation_id else None,
        traceparent=_text(traceparent) if traceparent else None,
        producer=_name(get("producer")),
        headers={} if headers.keys() <= _NAMES else _more(headers, event_id),
    )


def _more(headers: dict[str, bytes | None], event_id: bytes) -> dict[str, bytes]:
    """Those beside the ones that fields of the message stand for."""
    own = {name: content for name, content in headers.items() if name not in _NAMES}
    column = own.pop(COLUMN_HEADER, None)
    if column is not None or own.get("id") == event_id:
        own.pop("id", None)  # Debezium's own: the outbox row's, of dead letters as well
    if column is not None:
        own.update(_decode_column(column))
    return _others(own)


def _foreign(raw: Consumed, read_foreign: ReadForeign | None) -> Message:
    if read_foreign is None:
        raise UndecodableMessageError("it has no eventId, eventType and ce_time among its headers")
    return read_foreign(
        ForeignRecord(
            topic=raw.topic(),
            partition=raw.partition(),
            offset=raw.offset(),
            key=_text(raw.key()),
            value=raw.value() or b"",
            headers=_others(dict(raw.headers() or ())),
            timestamp=_timestamp(raw),
        )
    )


def _unreadable(raw: Consumed, error: Exception) -> Message:
    """What stands for a record that nobody understands: it ends as a dead letter, whole."""
    topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
    reason = f"{topic} partition {partition} offset {offset}: {error}"
    key = _text(raw.key())
    try:
        headers = _others(dict(raw.headers() or ()))
    except ValueError:
        headers = {}
    if len(key) > _KEY_CHARS_MAX:
        key, headers[ORIGINAL_KEY_HEADER] = key[:_KEY_CHARS_MAX], raw.key() or b""
    return Message(
        id=uuid5(NAMESPACE_URL, f"kafka:{topic}/{partition}/{offset}"),
        topic=topic,
        type=UNREADABLE_TYPE,
        key=key,
        value=raw.value() or b"",
        occurred_at=_timestamp(raw),
        correlation_id=_short(headers.get("correlationId")),
        traceparent=_short(headers.get("traceparent")) or None,
        headers={**headers, UNREADABLE_HEADER: storable(reason)[:_REASON_CHARS_MAX].encode()},
    )


def _short(content: bytes | None) -> str:
    """What a log line and a trace may have of a record that nobody understands; else nothing."""
    text = _text(content)
    return text if len(text) <= _CORRELATION_CHARS_MAX else ""


def _instant(content: bytes) -> datetime:
    instant = _decode_time(b'"%b"' % content)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _number(content: bytes, largest: int) -> int:
    number = int(content)
    if not 0 <= number <= largest:
        raise ValueError(f"{number} is no version")
    return number


def _others(headers: dict[str, bytes | None]) -> dict[str, bytes]:
    if not headers:
        return {}
    return {storable(name): content or b"" for name, content in headers.items()}


def _timestamp(raw: Consumed) -> datetime:
    return EPOCH + timedelta(milliseconds=min(max(0, raw.timestamp()[1]), _MILLISECONDS_MAX))


def _name(content: bytes | None) -> str:
    """A text that many records share."""
    known = _known_names.get(content)
    if known is None:
        known = _text(content)
        if len(_known_names) < _KNOWN_NAMES_MAX:
            _known_names[content] = known
    return known


def _text(content: bytes | None) -> str:
    if not content:
        return ""
    text = content.decode("utf-8", "backslashreplace")
    return text.replace("\x00", "\\x00") if "\x00" in text else text

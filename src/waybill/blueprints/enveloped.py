"""Seed 004's wire form: `{eventId, traceId, type, occurredAt, data}`, and its headers.

A form is the struct of `data` and the functions between it and the event. What is no such object is
refused with UndecodableMessageError and no other error.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import msgspec

from waybill.blueprints.forms import FormCodec, undecodable
from waybill.blueprints.versions import RAISES, newer, raised
from waybill.commerce.contracts import Instant
from waybill.commerce.sku import made_id
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import Message, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from waybill.blueprints.versions import Upcast
    from waybill.commerce.contracts import Event
    from waybill.messaging.core.message import ForeignRecord

VERSION = 1
Data = TypeVar("Data")
_TRACEPARENT_PARTS = 4
_encode_time = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, Generic[Data], rename="camel", kw_only=True, omit_defaults=True):
    """A record's value. Strangers need no more of it than `type` and `data`."""

    event_id: str | None = None
    trace_id: str | None = None
    type: str
    occurred_at: Instant | None = None
    data: Data


_raw = msgspec.json.Decoder(Envelope[dict[str, Any]], float_hook=Decimal).decode


@dataclass(frozen=True)
class Form:
    """How some events stand in their topic under one name.

    `read` raises ValueError for what the books must not hold. `upcasts`: what turns the `data` of
    version 1 into that of 2, of 2 into 3 and so on; the version stands in a header only.
    """

    events: tuple[type[Event], ...]
    topic: str
    name: str
    struct: type[msgspec.Struct]
    write: Callable[[Any], msgspec.Struct]
    read: Callable[[Any], Event]
    upcasts: tuple[Upcast, ...] = ()

    @property
    def version(self) -> int:
        """Today's."""
        return VERSION + len(self.upcasts)


class EnvelopedCodec(FormCodec[Form]):
    """Codec of these forms. Adds the documented headers that a message's own fields do not give."""

    def __init__(self, forms: Iterable[Form]) -> None:
        super().__init__({event.__name__: form for form in forms for event in form.events})
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        envelope: Any = Envelope
        self._decoders: Mapping[str, msgspec.json.Decoder[Envelope[Any]]] = {
            name: msgspec.json.Decoder(envelope[form.struct])
            for name, form in self._by_name.items()
        }

    def written(self, event: type[Event]) -> Any:  # noqa: ANN401 - an alias of a struct
        """See WireCodec."""
        envelope: Any = Envelope
        return envelope[self._form(event).struct]

    def encode(self, event: object, message: Message) -> bytes:
        """See Codec."""
        trace_id = _add_headers(message)
        return self._encoder.encode(
            Envelope(
                event_id=str(message.id),
                trace_id=trace_id or message.correlation_id,
                type=message.type,
                occurred_at=message.occurred_at,
                data=self._form(type(event)).write(event),
            )
        )

    def decode(self, message: Message) -> object | None:
        """See Codec."""
        form = self._by_name.get(message.type)
        if form is None:
            return None
        if message.version > form.version:
            raise undecodable(message, newer(message.version, form.version))
        try:
            written = self._read(form, message)
            if written.type != message.type:
                raise undecodable(message, f"its envelope says {written.type!r}")
            return form.read(written.data)
        except RAISES as error:
            raise undecodable(message, str(error)) from error

    def _read(self, form: Form, message: Message) -> Envelope[Any]:
        if message.version == form.version:
            return self._decoders[message.type].decode(message.value)
        told = _raw(message.value)
        told.data = msgspec.convert(raised(form.upcasts, message.version, told.data), form.struct)
        return told


def _add_headers(message: Message) -> str:
    """The trace id, which the value has as well; empty if the message belongs to no trace."""
    message.headers["occurredAt"] = _encode_time(message.occurred_at)[1:-1]
    parts = (message.traceparent or "").split("-")
    if len(parts) != _TRACEPARENT_PARTS:
        return ""
    message.headers["traceId"], message.headers["spanId"] = parts[1].encode(), parts[2].encode()
    return parts[1]


class _About(msgspec.Struct, rename="camel"):
    order_id: str


_decode_foreign: Any = msgspec.json.Decoder(Envelope[_About]).decode


def foreign_reader(order_id_of: Callable[[str], UUID]) -> Callable[[ForeignRecord], Message]:
    """Reads records without headers; `order_id_of` raises ValueError for an id that is not ours.

    The document's further examples have no event id: such a record is what stands at its place.
    """

    def read_foreign(record: ForeignRecord) -> Message:
        try:
            told = _decode_foreign(record.value)
            order_id = order_id_of(told.data.order_id)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise UndecodableMessageError(f"it has no headers and no event: {error}") from error
        place = f"{record.topic}-{record.partition}-{record.offset}"
        return Message(
            id=_event_id(told.event_id) or made_id("record", place),
            topic=record.topic,
            type=storable(told.type),
            key=record.key or str(order_id),
            value=record.value,
            occurred_at=told.occurred_at or record.timestamp,
            correlation_id=str(order_id),
            headers=dict(record.headers),
        )

    return read_foreign


def _event_id(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None

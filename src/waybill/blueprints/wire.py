"""Seed 003's wire form: a JSON envelope around the event, the money in it exact JSON numbers.

Reads leniently what foreign producers may write (contracts 1.3, C35), and refuses everything that
is no such event, with UndecodableMessageError and no other error.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import msgspec

from waybill.blueprints.versions import RAISES, newer, raised
from waybill.commerce.contracts import (
    Event,
    Instant,
    OrderCancelled,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockRejected,
    StockReserved,
)
from waybill.commerce.money import AMOUNT_MAX, AMOUNT_MIN, SCALE_MAX
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from waybill.blueprints.versions import Upcast
    from waybill.messaging.core.message import Message

VERSION = 1
_ZERO = Decimal(0)
_YEAR_MIN, _YEAR_MAX = 1970, 9000

_QUOTED_PRICE = re.compile(rb'unitPrice"\s*:\s*"([^"]*)"')
_QUOTED_AMOUNT = re.compile(rb'mount"\s*:\s*"([^"]*)"')
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

Payload = TypeVar("Payload")


class Written(msgspec.Struct, Generic[Payload], rename="camel"):
    """The envelope as it is written: seed 003's seven members."""

    event_id: UUID
    event_type: str
    occurred_at: Instant
    correlation_id: str
    causation_id: UUID | None
    version: int
    payload: Payload


class Read(msgspec.Struct, Generic[Payload], rename="camel"):
    """What is read of an envelope; the rest travels in the message's own fields."""

    event_type: str
    payload: Payload
    version: int = VERSION


class EnvelopeCodec:
    """Codec of the events given, each with its topic; an event's type name is its class's name.

    `upcasts`: of events that have had other versions, what turns the payload of version 1 into
    that of 2, of 2 into 3 and so on.
    """

    def __init__(
        self,
        topics: Mapping[type[Event], str],
        upcasts: Mapping[type[Event], Sequence[Upcast]] | None = None,
    ) -> None:
        self._topics = dict(topics)
        self._upcasts = {event.__name__: tuple(each) for event, each in (upcasts or {}).items()}
        self._versions = {
            event.__name__: VERSION + len(self._upcasts.get(event.__name__, ())) for event in topics
        }
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._types = {event.__name__: event for event in topics}
        envelope: Any = Read
        self._decoders: dict[str, msgspec.json.Decoder[Read[Any]]] = {
            event.__name__: msgspec.json.Decoder(envelope[event]) for event in topics
        }

    def topic(self, event: object) -> str:
        """See Codec."""
        return self._topic(type(event))

    def _topic(self, event: type) -> str:
        try:
            return self._topics[event]
        except KeyError:
            raise ConfigurationError(
                f"{event.__name__} is not registered with this codec"
            ) from None

    def type_name(self, event: object) -> str:
        """See Codec."""
        return type(event).__name__

    def version(self, event: object) -> int:
        """See Codec."""
        return self._versions[type(event).__name__]

    def written(self, event: type[Event]) -> Any:  # noqa: ANN401 - see WireCodec
        """See WireCodec."""
        envelope: Any = Written
        return envelope[event]

    def written_version(self, event: type[Event]) -> int:
        """See WireCodec."""
        return self._versions[event.__name__]

    def encode(self, event: object, message: Message) -> bytes:
        """See Codec."""
        envelope = Written(
            message.id,
            message.type,
            message.occurred_at,
            message.correlation_id,
            message.causation_id,
            message.version,
            event,
        )
        return self._encoder.encode(envelope)

    def topics(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._topic(event) for event in types)

    def names(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        known = [event for event in types if self._topic(event)]
        return frozenset(event.__name__ for event in known)

    def decode(self, message: Message) -> object | None:
        """See Codec."""
        decoder = self._decoders.get(message.type)
        if decoder is None:
            return None
        version = self._versions[message.type]
        if message.version > version:
            raise _undecodable(message, newer(message.version, version))
        if message.version < version:
            read = self._upcast(message)
        else:
            try:
                read = decoder.decode(message.value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                read = self._with_foreign_reason(message, error)
        if read.event_type != message.type:
            raise _undecodable(message, f"its envelope says {read.event_type!r}")
        if read.version > version:
            raise _undecodable(message, newer(read.version, version))
        if read.version != message.version:
            raise _undecodable(message, f"its envelope says version {read.version}")
        problem = problem_of(read.payload, message.value)
        if problem:
            raise _undecodable(message, problem)
        event: object = read.payload
        return event

    def _upcast(self, message: Message) -> Read[Any]:
        """Members and reasons of an older version, as those of this one."""
        struct = self._types[message.type]
        try:
            read: Read[Any] = _ANY.decode(message.value)
            read.payload = _own_reason(
                raised(self._upcasts.get(message.type, ()), message.version, read.payload),
                struct,
                _REASONS.get(struct),
            )
        except RAISES as error:
            raise _undecodable(message, f"as version {message.version}: {error!r}") from error
        return read

    def _with_foreign_reason(self, message: Message, error: Exception) -> Read[Any]:
        """Seed 003's reasons are free text, or absent: make one of our codes and a detail of it."""
        default = _REASONS.get(self._types[message.type])
        if default is None or not isinstance(error, msgspec.ValidationError):
            raise _undecodable(message, str(error)) from error
        try:
            read: Read[Any] = _ANY.decode(message.value)
            read.payload = _own_reason(read.payload, self._types[message.type], default)
        except (ValueError, ArithmeticError, RecursionError) as worse:
            raise _undecodable(message, str(worse)) from worse
        return read


_ANY = msgspec.json.Decoder(Read[dict[str, Any]], float_hook=Decimal)
_REASONS: dict[type[Event], Reason] = {
    StockRejected: Reason.STOCK_UNAVAILABLE,
    PaymentFailed: Reason.PAYMENT_REFUSED,
    OrderCancelled: Reason.CUSTOMER_CANCELLED,
}
"""The events of seed 003 that carry a reason, with the code for a text that says no more."""


def _own_reason(payload: dict[str, Any], struct: type[Event], default: Reason | None) -> object:
    text = payload.get("reason")
    if default is None:
        return msgspec.convert(payload, struct)
    if text is None or (isinstance(text, str) and text not in set(Reason)):
        payload["reason"] = _code_of(text or "", struct, default)
        payload["detail"] = payload.get("detail") or text
    return msgspec.convert(payload, struct)


def _code_of(text: str, struct: type[Event], default: Reason) -> Reason:
    if struct is OrderCancelled and text.startswith(("Insufficient", "Product not", "Stock")):
        return Reason.STOCK_UNAVAILABLE
    if struct is OrderCancelled and text.startswith("Payment"):
        return Reason.PAYMENT_REFUSED
    return default


def _undecodable(message: Message, reason: str) -> UndecodableMessageError:
    return UndecodableMessageError(
        f"{message.type} {message.id}: {reason}", message_ids=[message.id]
    )


def problem_of(event: Event, value: bytes) -> str | None:
    """What msgspec lets pass and the books must not hold: NaN, a price of `1_0`, U+0000."""
    if isinstance(event, (OrderCreated, StockReserved)):
        return _order_problem(event) or _amount_problem(event.total_amount, value)
    if isinstance(event, (PaymentSucceeded, PaymentRefunded, RefundRequested)):
        return _amount_problem(event.amount, value)
    if isinstance(event, (StockRejected, PaymentFailed, OrderCancelled)):
        if event.detail is not None and "\0" in event.detail:
            return "detail holds U+0000"
        if isinstance(event, PaymentFailed) and event.amount is not None:
            return _amount_problem(event.amount, value)
    return None


def _order_problem(event: OrderCreated | StockReserved) -> str | None:
    if event.not_after is not None and not _YEAR_MIN <= event.not_after.year <= _YEAR_MAX:
        return f"notAfter lies outside the years {_YEAR_MIN} to {_YEAR_MAX}"
    for line in event.items:
        if not _within(line.unit_price, _ZERO):
            return f"{line.unit_price} is no price"
    return None


def _amount_problem(amount: Decimal, value: bytes) -> str | None:
    if not _within(amount, AMOUNT_MIN) or amount != round(amount, SCALE_MAX):
        return f"{amount} is no amount of money"
    if _QUOTED_AMOUNT.search(value) or _QUOTED_PRICE.search(value):
        quoted = [*_QUOTED_AMOUNT.findall(value), *_QUOTED_PRICE.findall(value)]
        if not all(_NUMBER.fullmatch(text) for text in quoted):
            return "a quoted amount is no JSON number"
    return None


def _within(amount: Decimal, least: Decimal) -> bool:
    try:
        return least <= amount <= AMOUNT_MAX
    except InvalidOperation:
        return False

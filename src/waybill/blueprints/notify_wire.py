"""Seed 000's one event on the wire: `{"orderId":…,"userId":1,"productIds":[1,2,3]}`, ORDER_CREATED.

Its id, type and version travel beside it. Whole numbers stand for ids everywhere inside.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Line, OrderCreated
from waybill.commerce.numbers import id_of, number_of
from waybill.commerce.sku import made_id
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError
from waybill.messaging.core.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.messaging.core.message import ForeignRecord

TOPIC: Final = "order-notifications"
ORDER_CREATED: Final = "ORDER_CREATED"
VERSION: Final = 1
CURRENCY: Final = "EUR"
"""The document has neither currency nor prices (C22)."""

Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Created(msgspec.Struct, frozen=True, rename="camel"):
    """ORDER_CREATED. A stranger's order may have a whole number for its id."""

    order_id: UUID | Number
    user_id: Number
    product_ids: Annotated[tuple[Number, ...], msgspec.Meta(min_length=1)]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Created).decode


class NotifyCodec:
    """Codec of ORDER_CREATED."""

    def topic(self, event: object) -> str:
        """See Codec."""
        _known(type(event))
        return TOPIC

    def type_name(self, event: object) -> str:
        """See Codec."""
        _known(type(event))
        return ORDER_CREATED

    def version(self, event: object) -> int:  # noqa: ARG002 - one version so far
        """See Codec."""
        return VERSION

    def encode(self, event: object, message: Message) -> bytes:  # noqa: ARG002 - it holds nothing of it
        """See Codec."""
        if not isinstance(event, OrderCreated):
            raise _unknown(type(event))
        products = tuple([number_of(line.product_id) for line in event.items])
        return _encode(Created(event.order_id, number_of(event.customer_id), products))

    def topics(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(TOPIC for event in types if _known(event))

    def names(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(ORDER_CREATED for event in types if _known(event))

    def written(self, event: type) -> Any:  # noqa: ANN401 - the struct that stands on the wire
        """What is written for this event."""
        _known(event)
        return Created

    def written_version(self, event: type) -> int:
        """The version that is written today."""
        _known(event)
        return VERSION

    def decode(self, message: Message) -> object | None:
        """See Codec."""
        if message.type != ORDER_CREATED:
            return None
        if message.version > VERSION:
            raise _undecodable(message, f"version {message.version} is newer than this reader's")
        try:
            written = _decode(message.value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _undecodable(message, str(error)) from error
        return OrderCreated(
            order_id=_order_id(written),
            customer_id=id_of(written.user_id),
            items=lines_of(written.product_ids),
            total_amount=Decimal(0),
            currency=CURRENCY,
        )


def lines_of(numbers: Sequence[int]) -> tuple[Line, ...]:
    """One unit of each, at no price: the document knows neither quantities nor prices."""
    return tuple([Line(id_of(number), 1, Decimal(0)) for number in numbers])


def read_foreign(record: ForeignRecord) -> Message:
    """The message that a record without headers stands for: what is at its place (as seed 001)."""
    try:
        written = _decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableMessageError(f"it has no headers and no event: {error}") from error
    order_id = str(_order_id(written))
    return Message(
        id=made_id("record", f"{record.topic}-{record.partition}-{record.offset}"),
        topic=record.topic,
        type=ORDER_CREATED,
        key=record.key or order_id,
        value=record.value,
        occurred_at=record.timestamp,
        correlation_id=order_id,
        headers=dict(record.headers),
    )


def _order_id(written: Created) -> UUID:
    order_id = written.order_id
    return order_id if isinstance(order_id, UUID) else id_of(order_id)


def _known(event: type) -> bool:
    if event.__name__ != OrderCreated.__name__:
        raise _unknown(event)
    return True


def _unknown(event: type) -> ConfigurationError:
    return ConfigurationError(f"{event.__name__} is not registered with this codec")


def _undecodable(message: Message, reason: str) -> UndecodableMessageError:
    return UndecodableMessageError(
        f"{message.type} {message.id}: {reason}", message_ids=[message.id]
    )

"""Seed 001's events on the wire, and the canonical events that they stand for.

Where its document has more to say than the canonical event, the event here is one of the same name
with those members; services see the canonical one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import msgspec

from waybill.blueprints.flat import FlatCodec, Form
from waybill.commerce import contracts
from waybill.commerce.contracts import Instant, Reason, Units
from waybill.commerce.money import AMOUNT_MAX, AMOUNT_MIN, SCALE_MAX
from waybill.commerce.sku import SkuLine, made_id, product_of, sku_of

if TYPE_CHECKING:
    from waybill.commerce.contracts import Line
    from waybill.messaging.core.message import Message

CURRENCY = "EUR"
"""The document has none (C22)."""


class OrderCreated(contracts.OrderCreated, frozen=True, kw_only=True):
    """With the customer's address and the instant of the order."""

    customer_email: str
    created_at: Instant


class OrderConfirmed(contracts.OrderConfirmed, frozen=True, kw_only=True):
    """With the total, and whom to tell."""

    total_amount: Decimal
    customer_email: str


class OrderFailed(contracts.OrderCancelled, frozen=True, kw_only=True):
    """The end of an order that was refused; who knows OrderCancelled only takes it as that."""

    customer_email: str


class OrderCancelled(contracts.OrderCancelled, frozen=True, kw_only=True):
    """The end of an order that its customer cancelled."""

    customer_email: str


class Shortage(msgspec.Struct, frozen=True, rename="camel"):
    """What was wanted of a SKU, and what there was."""

    sku: str
    quantity: int
    available: int


class StockRejected(contracts.StockRejected, frozen=True, kw_only=True):
    """With what was wanted and what there was."""

    items: tuple[Shortage, ...] = ()


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """A line of order.created."""

    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    quantity: Units
    unit_price: Decimal


class Held(msgspec.Struct, frozen=True, rename="camel"):
    """A line of inventory.reserved."""

    sku: str
    quantity: Units


class Flat(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What every event of seed 001 begins with."""

    event_type: str
    version: int
    order_id: UUID


class Created(Flat, frozen=True, kw_only=True):
    """order.created; `not_after` is an addition."""

    customer_email: str
    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1)]
    total_amount: Decimal
    created_at: Instant
    not_after: Instant | None = None


class Reserved(Flat, frozen=True, kw_only=True):
    """inventory.reserved."""

    reservations: tuple[Held, ...]


class Rejected(Flat, frozen=True, kw_only=True):
    """inventory.rejected."""

    reason: Reason
    items: tuple[Shortage, ...]
    detail: str | None = None


class Confirmed(Flat, frozen=True, kw_only=True):
    """order.confirmed; `customer_email` is an addition: the document's mail goes to it."""

    total_amount: Decimal
    confirmed_at: Instant
    customer_email: str = ""


class Failed(Flat, frozen=True, kw_only=True):
    """order.failed."""

    reason: Reason
    failed_at: Instant
    detail: str | None = None
    customer_email: str = ""


class Canceled(Flat, frozen=True, kw_only=True):
    """order.canceled."""

    reason: Reason
    canceled_at: Instant
    detail: str | None = None
    customer_email: str = ""


class Release(Flat, frozen=True, kw_only=True):
    """inventory.release-requested and inventory.released: additions (C33)."""


def head(event: contracts.Event, message: Message) -> tuple[str, int, UUID]:
    """What every event begins with: type, version and order."""
    return message.type, message.version, event.order_id


def _write_created(event: OrderCreated, message: Message) -> Created:
    items = tuple([Item(sku_of(each), each.quantity, each.unit_price) for each in event.items])
    kind, version, order_id = head(event, message)
    return Created(
        event_type=kind,
        version=version,
        order_id=order_id,
        customer_email=event.customer_email,
        items=items,
        total_amount=event.total_amount,
        created_at=event.created_at,
        not_after=event.not_after,
    )


def _read_created(flat: Created) -> OrderCreated:
    return OrderCreated(
        order_id=flat.order_id,
        customer_id=made_id("customer", flat.customer_email.lower()),
        items=tuple([line(each.sku, each.quantity, each.unit_price) for each in flat.items]),
        total_amount=amount(flat.total_amount),
        currency=CURRENCY,
        not_after=flat.not_after,
        customer_email=text(flat.customer_email),
        created_at=flat.created_at,
    )


def _write_reserved(event: contracts.StockReserved, message: Message) -> Reserved:
    held = tuple([Held(sku_of(line), line.quantity) for line in event.items])
    kind, version, order_id = head(event, message)
    return Reserved(event_type=kind, version=version, order_id=order_id, reservations=held)


def _read_reserved(flat: Reserved) -> contracts.StockReserved:
    """The document has no prices here, and nobody who reads it asks for any."""
    none = Decimal(0)
    items = tuple([line(each.sku, each.quantity, none) for each in flat.reservations])
    return contracts.StockReserved(
        order_id=flat.order_id, items=items, total_amount=none, currency=CURRENCY
    )


def _write_rejected(event: contracts.StockRejected, message: Message) -> Rejected:
    items = event.items if isinstance(event, StockRejected) else ()
    kind, version, order_id = head(event, message)
    return Rejected(
        event_type=kind,
        version=version,
        order_id=order_id,
        reason=event.reason,
        items=items,
        detail=event.detail,
    )


def _read_rejected(flat: Rejected) -> StockRejected:
    detail = text(flat.detail) if flat.detail else None
    return StockRejected(
        order_id=flat.order_id, reason=flat.reason, detail=detail, items=flat.items
    )


def _write_confirmed(event: OrderConfirmed, message: Message) -> Confirmed:
    kind, version, order_id = head(event, message)
    return Confirmed(
        event_type=kind,
        version=version,
        order_id=order_id,
        total_amount=event.total_amount,
        confirmed_at=message.occurred_at,
        customer_email=event.customer_email,
    )


def _read_confirmed(flat: Confirmed) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=flat.order_id,
        total_amount=amount(flat.total_amount),
        customer_email=text(flat.customer_email),
    )


def _write_failed(event: OrderFailed, message: Message) -> Failed:
    kind, version, order_id = head(event, message)
    return Failed(
        event_type=kind,
        version=version,
        order_id=order_id,
        reason=event.reason,
        failed_at=message.occurred_at,
        detail=event.detail,
        customer_email=event.customer_email,
    )


def _read_failed(flat: Failed) -> OrderFailed:
    return OrderFailed(
        order_id=flat.order_id,
        reason=flat.reason,
        detail=flat.detail and text(flat.detail),
        customer_email=text(flat.customer_email),
    )


def _write_canceled(event: OrderCancelled, message: Message) -> Canceled:
    kind, version, order_id = head(event, message)
    return Canceled(
        event_type=kind,
        version=version,
        order_id=order_id,
        reason=event.reason,
        canceled_at=message.occurred_at,
        detail=event.detail,
        customer_email=event.customer_email,
    )


def _read_canceled(flat: Canceled) -> OrderCancelled:
    return OrderCancelled(
        order_id=flat.order_id,
        reason=flat.reason,
        detail=flat.detail and text(flat.detail),
        customer_email=text(flat.customer_email),
    )


def _write_release(event: contracts.Event, message: Message) -> Release:
    kind, version, order_id = head(event, message)
    return Release(event_type=kind, version=version, order_id=order_id)


def line(sku: str, quantity: int, unit_price: Decimal) -> Line:
    """A line as it is kept inside. Raises ValueError for what is none."""
    product_id = product_of(sku)
    if product_id is None:
        raise ValueError(f"{sku!r} is no SKU")
    if not 0 <= unit_price <= AMOUNT_MAX:
        raise ValueError(f"{unit_price} is no price")
    return SkuLine(product_id, quantity, unit_price, sku)


def amount(amount: Decimal) -> Decimal:
    """Money as the books may hold it; else ValueError, or for NaN InvalidOperation."""
    if not AMOUNT_MIN <= amount <= AMOUNT_MAX or amount != round(amount, SCALE_MAX):
        raise ValueError(f"{amount} is no amount of money")
    return amount


def text(text: str) -> str:
    """Text that a table can hold; else ValueError."""
    if "\0" in text:
        raise ValueError("it holds U+0000")
    return text


FORMS = (
    Form(OrderCreated, "order.created", Created, _write_created, _read_created),
    Form(OrderConfirmed, "order.confirmed", Confirmed, _write_confirmed, _read_confirmed),
    Form(OrderFailed, "order.failed", Failed, _write_failed, _read_failed),
    Form(OrderCancelled, "order.canceled", Canceled, _write_canceled, _read_canceled),
    Form(
        contracts.StockReleaseRequested,
        "inventory.release-requested",
        Release,
        _write_release,
        lambda flat: contracts.StockReleaseRequested(order_id=flat.order_id),
    ),
    Form(contracts.StockReserved, "inventory.reserved", Reserved, _write_reserved, _read_reserved),
    Form(StockRejected, "inventory.rejected", Rejected, _write_rejected, _read_rejected),
    Form(
        contracts.StockReleased,
        "inventory.released",
        Release,
        _write_release,
        lambda flat: contracts.StockReleased(order_id=flat.order_id),
    ),
)


def codec() -> FlatCodec:
    """The wire form of every event of this blueprint."""
    return FlatCodec(FORMS)

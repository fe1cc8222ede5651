"""Seed 002's events on the wire, and the canonical events that they stand for.

`inventory.updated` is one event for two facts: what was there is sold, or nothing was.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import msgspec

from waybill.blueprints.payloads import Payload, PayloadCodec
from waybill.commerce import contracts
from waybill.commerce.contracts import (
    Line,
    OrderCancelled,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    Units,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.commerce.contracts import OrderTerms
    from waybill.commerce.inventory.domain import Reservation

ORDER_CREATED, ORDER_CANCELLED = "order.created", "order.cancelled"
INVENTORY_UPDATED = "inventory.updated"
PAYMENT_UPDATED, PAYMENT_REFUNDS = "payment.updated", "payment.refunds"

NO_CURRENCY = "XXX"
"""ISO 4217's code for that."""

Left = Annotated[int, msgspec.Meta(ge=0)]


class OrderCreated(contracts.OrderCreated, frozen=True, kw_only=True):
    """By orders, when an order is paid and so confirmed; again, with a new id, until answered.

    Its stock follows, however late. `not_after` stands in older records, and nobody heeds it.
    """


class Level(msgspec.Struct, frozen=True, rename="camel"):
    """A line of inventory.updated: what was wanted, and what is there now."""

    product_id: UUID
    quantity: Units
    remaining: Left


class StockReserved(contracts.StockReserved, frozen=True, kw_only=True):
    """All of it is sold; with what is left."""

    levels: tuple[Level, ...]


class StockRejected(contracts.StockRejected, frozen=True, kw_only=True):
    """With what was wanted and what there was."""

    items: tuple[Level, ...] = ()


class InventoryUpdated(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of inventory.updated; `reason` is null where stock was there."""

    order_id: UUID
    status: Literal["COMMITTED", "REJECTED"]
    reason: Reason | None = None
    items: tuple[Level, ...]
    detail: str | msgspec.UnsetType = msgspec.UNSET


def accept(ask: OrderTerms, left: Callable[[UUID], int]) -> StockReserved:
    """How inventory tells that an order has its stock."""
    levels = tuple([Level(e.product_id, e.quantity, left(e.product_id)) for e in ask.items])
    return StockReserved(
        order_id=ask.order_id,
        items=ask.items,
        total_amount=ask.total_amount,
        currency=ask.currency,
        levels=levels,
    )


def reject(known: Reservation, shortage: Sequence[tuple[Line, int]]) -> StockRejected:
    """How inventory refuses."""
    return StockRejected(
        order_id=known.order_id,
        reason=known.reason or Reason.STOCK_UNAVAILABLE,
        detail=known.detail,
        items=tuple([Level(line.product_id, line.quantity, left) for line, left in shortage]),
    )


def _write_sold(event: StockReserved) -> InventoryUpdated:
    return InventoryUpdated(order_id=event.order_id, status="COMMITTED", items=event.levels)


def _write_rejected(event: contracts.StockRejected) -> InventoryUpdated:
    return InventoryUpdated(
        order_id=event.order_id,
        status="REJECTED",
        reason=event.reason,
        items=event.items if isinstance(event, StockRejected) else (),
        detail=event.detail or msgspec.UNSET,
    )


def sold(order_id: UUID, levels: tuple[Level, ...]) -> StockReserved:
    """As it is read: the document has no prices here, and nobody who reads it asks for any."""
    none = Decimal(0)
    return StockReserved(
        order_id=order_id,
        items=tuple([Line(each.product_id, each.quantity, none) for each in levels]),
        total_amount=none,
        currency=NO_CURRENCY,
        levels=levels,
    )


def _read_updated(update: InventoryUpdated) -> contracts.Event:
    if update.status == "COMMITTED":
        return sold(update.order_id, update.items)
    return StockRejected(
        order_id=update.order_id,
        reason=update.reason or Reason.STOCK_UNAVAILABLE,
        detail=update.detail if isinstance(update.detail, str) else None,
        items=update.items,
    )


FORMS = (
    Payload(OrderCreated, ORDER_CREATED, ORDER_CREATED, OrderCreated),
    Payload(OrderCancelled, ORDER_CANCELLED, ORDER_CANCELLED, OrderCancelled),
    Payload(RefundRequested, PAYMENT_REFUNDS, "RefundRequested", RefundRequested),
    Payload(
        *(StockReserved, INVENTORY_UPDATED, INVENTORY_UPDATED, InventoryUpdated),
        write=_write_sold,
        read=_read_updated,
    ),
    Payload(
        *(StockRejected, INVENTORY_UPDATED, INVENTORY_UPDATED, InventoryUpdated),
        write=_write_rejected,
        read=_read_updated,
    ),
    Payload(PaymentSucceeded, PAYMENT_UPDATED, "PaymentSucceeded", PaymentSucceeded),
    Payload(PaymentFailed, PAYMENT_UPDATED, "PaymentFailed", PaymentFailed),
    Payload(PaymentRefunded, PAYMENT_REFUNDS, "PaymentRefunded", PaymentRefunded),
)


def codec() -> PayloadCodec:
    """The wire form of every event of this blueprint."""
    return PayloadCodec(FORMS)

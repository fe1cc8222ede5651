"""The blueprint `reservation` (seed 001): stock is the one step; the order service decides.

An order that its customer cancels is CANCELED, even after it was confirmed, and its stock released.
Confirmed stock stays reserved: the document knows no sale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.blueprints import reservation_http, workload
from waybill.blueprints.definition import Blueprint, Orders, Service, Stock
from waybill.blueprints.reservation_wire import (
    FORMS,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderFailed,
    Shortage,
    StockRejected,
    codec,
)
from waybill.blueprints.versions import Version
from waybill.commerce.contracts import Reason, StockReleased, StockReleaseRequested, StockReserved
from waybill.commerce.inventory.sku_api import sku_surface
from waybill.commerce.notifications.domain import Notification
from waybill.commerce.orders.domain import MAKERS
from waybill.commerce.process import Ending, Process, Step
from waybill.commerce.sku import made_id, sku_of, with_skus
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import Message, storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.commerce.contracts import Event, Line
    from waybill.commerce.inventory.domain import Reservation
    from waybill.commerce.orders.domain import Order
    from waybill.messaging.core.message import ForeignRecord

PENDING, CONFIRMED, FAILED, CANCELED = "PENDING", "CONFIRMED", "FAILED", "CANCELED"

PROCESS = Process(
    name="reservation",
    steps=(
        Step(
            name="stock",
            ask="OrderCreated",
            done="StockReserved",
            refused="StockRejected",
            refusal=Reason.STOCK_UNAVAILABLE,
            undo="StockReleaseRequested",
            undone="StockReleased",
        ),
    ),
    initial=PENDING,
    confirmed=Ending(CONFIRMED, "OrderConfirmed"),
    failed=Ending(FAILED, "OrderFailed"),
    canceled=Ending(CANCELED, "OrderCancelled"),
    late_cancel=True,
    lifecycle={
        PENDING: frozenset((CONFIRMED, FAILED, CANCELED)),
        CONFIRMED: frozenset((CANCELED,)),
        FAILED: frozenset(),
        CANCELED: frozenset(),
    },
)

TOPICS: dict[str, tuple[type[Event], ...]] = {form.name: (form.event,) for form in FORMS}
"""A topic for each type, of its name; the key is the order's id everywhere."""

SERVICES = {
    service.name: service
    for service in (
        Service(
            "order-service",
            (
                "order.created",
                "order.confirmed",
                "order.failed",
                "order.canceled",
                "inventory.release-requested",
            ),
            {
                "inventory.reserved": (StockReserved,),
                "inventory.rejected": (StockRejected,),
                "inventory.released": (StockReleased,),
            },
        ),
        Service(
            "inventory-service",
            ("inventory.reserved", "inventory.rejected", "inventory.released"),
            {
                "order.created": (OrderCreated,),
                "inventory.release-requested": (StockReleaseRequested,),
            },
        ),
        Service(
            "notification-service",
            (),
            {
                "order.confirmed": (OrderConfirmed,),
                "order.failed": (OrderFailed,),
                "order.canceled": (OrderCancelled,),
            },
            patient=(OrderConfirmed, OrderFailed, OrderCancelled),
        ),
    )
}


def _email(order: Order) -> str:
    return reservation_http.particulars_of(order.particulars or b"").customer_email


def _created(order: Order) -> Event:
    kept = reservation_http.particulars_of(order.particulars or b"")
    return OrderCreated(
        order_id=order.id,
        customer_id=order.customer_id,
        items=with_skus(order.items, kept.skus),
        total_amount=order.total_amount,
        currency=order.currency,
        not_after=order.not_after,
        customer_email=kept.customer_email,
        created_at=order.created_at,
    )


def _confirmed(order: Order) -> Event:
    return OrderConfirmed(
        order_id=order.id, total_amount=order.total_amount, customer_email=_email(order)
    )


def _failed(order: Order) -> Event:
    return OrderFailed(
        order_id=order.id,
        reason=Reason(order.progress.reason or Reason.DEADLINE),
        detail=order.progress.detail,
        customer_email=_email(order),
    )


def _canceled(order: Order) -> Event:
    return OrderCancelled(
        order_id=order.id,
        reason=Reason.CUSTOMER_CANCELLED,
        detail=order.progress.detail,
        customer_email=_email(order),
    )


def _rejected(known: Reservation, shortage: Sequence[tuple[Line, int]]) -> StockRejected:
    return StockRejected(
        order_id=known.order_id,
        reason=known.reason or Reason.STOCK_UNAVAILABLE,
        detail=known.detail,
        items=tuple(Shortage(sku_of(line), line.quantity, left) for line, left in shortage),
    )


def tell(event: object) -> Notification | None:
    """The document's line, to the customer's address; None if it does not concern them."""
    if not isinstance(event, (OrderConfirmed, OrderFailed, OrderCancelled)):
        return None
    kind = type(event).__name__
    status = {"OrderConfirmed": CONFIRMED, "OrderFailed": FAILED}.get(kind, CANCELED)
    text = f"your order is {status}"
    line = f"Email to {event.customer_email}: {text}"
    return Notification(
        event.order_id,
        kind,
        f"Order {event.order_id}: {text}",
        line,
        customer=event.customer_email,
    )


class _Flat(msgspec.Struct, rename="camel"):
    event_type: str
    order_id: str
    version: Version = 1


_decode = msgspec.json.Decoder(_Flat).decode


def read_foreign(record: ForeignRecord) -> Message:
    """The message that a record without headers stands for.

    The document has no event id: a record is what stands at its place.
    """
    try:
        flat = _decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableMessageError(f"it has no headers and no event: {error}") from error
    return Message(
        id=made_id("record", f"{record.topic}-{record.partition}-{record.offset}"),
        topic=record.topic,
        type=storable(flat.event_type),
        key=record.key or storable(flat.order_id),
        value=record.value,
        occurred_at=record.timestamp,
        version=flat.version,
        correlation_id=storable(flat.order_id),
        headers=dict(record.headers),
    )


RESERVATION = Blueprint(
    name=PROCESS.name,
    title="stock is the one step; a customer may cancel even a confirmed order",
    source="seed 001",
    process=PROCESS,
    topics=TOPICS,
    services=SERVICES,
    codec=codec,
    read_foreign=read_foreign,
    dead_letter_suffix=".dlq",
    personal=("customerEmail",),
    orders=Orders(
        contract=reservation_http.CONTRACT,
        personal=("customerEmail",),
        makers={
            **MAKERS,
            "OrderCreated": _created,
            "OrderConfirmed": _confirmed,
            "OrderFailed": _failed,
            "OrderCancelled": _canceled,
        },
    ),
    stock=Stock(reject=_rejected, surface=sku_surface),
    workload=workload.SEED_001,
    tell=tell,
    known_by_address=True,
)

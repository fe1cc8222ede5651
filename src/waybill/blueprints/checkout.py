"""The blueprint `checkout` (seed 002): payment inside the request, then stock follows the event.

A paid order is CONFIRMED and published as order.created; inventory sells its stock, or refuses and
the money goes back (C30). So CONFIRMED is the end only once the stock is sold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.blueprints import checkout_http, workload
from waybill.blueprints.checkout_wire import (
    FORMS,
    INVENTORY_UPDATED,
    ORDER_CANCELLED,
    ORDER_CREATED,
    PAYMENT_REFUNDS,
    PAYMENT_UPDATED,
    OrderCreated,
    StockRejected,
    StockReserved,
    accept,
    codec,
    reject,
)
from waybill.blueprints.definition import Blueprint, Orders, Payments, Service, Stock
from waybill.blueprints.foreign import read_foreign
from waybill.commerce.contracts import (
    Event,
    OrderCancelled,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
)
from waybill.commerce.notifications.domain import Notification, notification_of
from waybill.commerce.orders.domain import MAKERS
from waybill.commerce.payments.domain import asked_over_http
from waybill.commerce.process import Ending, Process, Step

if TYPE_CHECKING:
    from waybill.commerce.orders.domain import Order

PENDING, CONFIRMED, CANCELLED = "PENDING", "CONFIRMED", "CANCELLED"

PROCESS = Process(
    name="checkout",
    steps=(
        Step(
            name="payment",
            ask="OrderPlaced",
            done="PaymentSucceeded",
            refused="PaymentFailed",
            refusal=Reason.PAYMENT_REFUSED,
            undo="RefundRequested",
            undone="PaymentRefunded",
            called=True,
        ),
        # What is refused holds nothing, and nothing comes after it: there is no undo.
        Step(
            name="stock",
            ask="OrderCreated",
            done="StockReserved",
            refused="StockRejected",
            refusal=Reason.STOCK_UNAVAILABLE,
            afterwards=True,
        ),
    ),
    initial=PENDING,
    confirmed=Ending(CONFIRMED, "OrderCreated"),
    failed=Ending(CANCELLED, "OrderCancelled"),
    lifecycle={
        PENDING: frozenset((CONFIRMED, CANCELLED)),
        CONFIRMED: frozenset((CANCELLED,)),
        CANCELLED: frozenset(),
    },
)

_STOCK_EVENTS: tuple[type[Event], ...] = (StockReserved, StockRejected)
_PAYMENT_EVENTS: tuple[type[Event], ...] = (PaymentSucceeded, PaymentFailed)

TOPICS: dict[str, tuple[type[Event], ...]] = {
    topic: tuple(form.event for form in FORMS if form.topic == topic)
    for topic in dict.fromkeys(form.topic for form in FORMS)
}
"""Each topic with the events that stand in it; the key is the order's id everywhere."""

SERVICES = {
    service.name: service
    for service in (
        Service(
            "order-service",
            (ORDER_CREATED, ORDER_CANCELLED, PAYMENT_REFUNDS),
            {
                INVENTORY_UPDATED: _STOCK_EVENTS,
                PAYMENT_UPDATED: _PAYMENT_EVENTS,
                PAYMENT_REFUNDS: (PaymentRefunded,),
            },
            # The answer to the order's own call says the same.
            patient=(PaymentSucceeded,),
            tells=(OrderCreated, OrderCancelled, RefundRequested),
        ),
        Service(
            "payment-service",
            (PAYMENT_UPDATED, PAYMENT_REFUNDS),
            {ORDER_CANCELLED: (OrderCancelled,), PAYMENT_REFUNDS: (RefundRequested,)},
            tells=(*_PAYMENT_EVENTS, PaymentRefunded),
        ),
        Service("inventory-service", (INVENTORY_UPDATED,), {ORDER_CREATED: (OrderCreated,)}),
        Service(
            "notification-service",
            (),
            {ORDER_CREATED: (OrderCreated,), ORDER_CANCELLED: (OrderCancelled,)},
            patient=(OrderCreated, OrderCancelled),
        ),
    )
}


def _created(order: Order) -> Event:
    return OrderCreated(
        order_id=order.id,
        customer_id=order.customer_id,
        items=order.items,
        total_amount=order.total_amount,
        currency=order.currency,
    )


def tell(event: object) -> Notification | None:
    """A paid order is confirmed to its customer; the rest is told as everywhere."""
    if not isinstance(event, OrderCreated):
        return notification_of(event)
    order_id = event.order_id
    return Notification(
        order_id,
        "OrderCreated",
        f"Order {order_id} has been paid and is confirmed. Thank you for your purchase!",
        f"[EMAIL] Sending confirmation email for order {order_id}",
        customer=str(event.customer_id),
    )


CHECKOUT = Blueprint(
    name=PROCESS.name,
    title="payment inside the request; stock follows, or the money goes back",
    source="seed 002",
    process=PROCESS,
    topics=TOPICS,
    services=SERVICES,
    codec=codec,
    read_foreign=read_foreign,
    orders=Orders(
        contract=checkout_http.CONTRACT,
        personal=("customer", "deliveryAddress"),
        makers={**MAKERS, "OrderCreated": _created},
    ),
    payments=Payments(charges=asked_over_http),
    stock=Stock(reject=reject, accept=accept, sells_at_once=True),
    workload=workload.SEED_002,
    edge=True,
    tell=tell,
)

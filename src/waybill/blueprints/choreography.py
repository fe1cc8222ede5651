"""The blueprint `choreography` (seed 003): stock, then payment; the order service decides.

Its process, its topics, its wire form and who reads what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.blueprints.definition import Blueprint, Service
from waybill.blueprints.foreign import read_foreign
from waybill.blueprints.wire import EnvelopeCodec
from waybill.commerce.contracts import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockRejected,
    StockReleased,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.process import Ending, Process, Step

if TYPE_CHECKING:
    from waybill.commerce.contracts import Event

PENDING = "PENDING"
STOCK_RESERVED = "STOCK_RESERVED"
CONFIRMED = "CONFIRMED"
CANCELLED = "CANCELLED"

PROCESS = Process(
    name="choreography",
    steps=(
        Step(
            name="stock",
            ask="OrderCreated",
            done="StockReserved",
            refused="StockRejected",
            refusal=Reason.STOCK_UNAVAILABLE,
            undo="StockReleaseRequested",
            undone="StockReleased",
            status=STOCK_RESERVED,
        ),
        # Asked by OrderCreated too: inventory repeats its answer, and that asks payment (M3).
        Step(
            name="payment",
            ask="OrderCreated",
            done="PaymentSucceeded",
            refused="PaymentFailed",
            refusal=Reason.PAYMENT_REFUSED,
            undo="RefundRequested",
            undone="PaymentRefunded",
        ),
    ),
    initial=PENDING,
    confirmed=Ending(CONFIRMED, "OrderConfirmed"),
    failed=Ending(CANCELLED, "OrderCancelled"),
    lifecycle={
        PENDING: frozenset((STOCK_RESERVED, CANCELLED)),
        STOCK_RESERVED: frozenset((CONFIRMED, CANCELLED)),
        CONFIRMED: frozenset(),
        CANCELLED: frozenset(),
    },
)

ORDER_EVENTS = "order-events"
INVENTORY_EVENTS = "inventory-events"
PAYMENT_EVENTS = "payment-events"

TOPICS: dict[str, tuple[type[Event], ...]] = {
    ORDER_EVENTS: (
        OrderCreated,
        OrderConfirmed,
        OrderCancelled,
        StockReleaseRequested,
        RefundRequested,
    ),
    INVENTORY_EVENTS: (StockReserved, StockRejected, StockReleased),
    PAYMENT_EVENTS: (PaymentSucceeded, PaymentFailed, PaymentRefunded),
}
"""Each topic with the events that stand in it; the key is the order's id everywhere."""


SERVICES = {
    service.name: service
    for service in (
        Service(
            "order-service",
            (ORDER_EVENTS,),
            {
                INVENTORY_EVENTS: TOPICS[INVENTORY_EVENTS],
                PAYMENT_EVENTS: TOPICS[PAYMENT_EVENTS],
            },
            # Payment reads it itself; what it changes here is only shown.
            patient=(StockReserved,),
        ),
        Service(
            "inventory-service",
            (INVENTORY_EVENTS,),
            {ORDER_EVENTS: (OrderCreated, StockReleaseRequested, OrderConfirmed)},
            patient=(OrderConfirmed,),
        ),
        Service(
            "payment-service",
            (PAYMENT_EVENTS,),
            {
                INVENTORY_EVENTS: (StockReserved,),
                ORDER_EVENTS: (OrderCancelled, RefundRequested),
            },
        ),
        Service(
            "notification-service",
            (),
            {ORDER_EVENTS: (OrderConfirmed, OrderCancelled)},
            patient=(OrderConfirmed, OrderCancelled),
        ),
    )
}


def codec() -> EnvelopeCodec:
    """The wire form of every event of this blueprint."""
    return EnvelopeCodec({event: topic for topic, events in TOPICS.items() for event in events})


CHOREOGRAPHY = Blueprint(
    name=PROCESS.name,
    title="stock, then payment; the order service decides",
    source="seed 003",
    process=PROCESS,
    topics=TOPICS,
    services=SERVICES,
    codec=codec,
    read_foreign=read_foreign,
)

"""A sixth blueprint: stock, payment, then a screening that nobody else has.

docs/blueprints/writing-one.md walks through it; tests/blueprints/test_writing_one.py runs it.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from waybill.blueprints.definition import Blueprint, Orders, Service
from waybill.blueprints.foreign import read_foreign
from waybill.blueprints.wire import EnvelopeCodec
from waybill.commerce import checker
from waybill.commerce.checker.model import Result
from waybill.commerce.contracts import (
    Event,
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
from waybill.commerce.http.surface import Surface
from waybill.commerce.orders.contract import SEED_003
from waybill.commerce.process import Ending, Process, Step
from waybill.platform.services import Built, ServicePlan, Workshop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.commerce.checker import Limits, Walk
    from waybill.commerce.checker.model import Actor, Move
    from waybill.messaging.core.unit import Received, UnitOfWork

LIMIT = Decimal(100)
"""What is paid above it is looked at by a person first, and that is another system."""


class OrderCleared(Event, frozen=True, kw_only=True):
    """By screening: the order may go out. Repeated, with a new id, when asked again."""


class OrderSuspected(Event, frozen=True, kw_only=True):
    """By screening: the order must not go out. Repeated, with a new id, when asked again."""

    reason: Reason
    detail: str | None = None


PROCESS = Process(
    name="screened",
    steps=(
        Step(
            name="stock",
            ask="OrderCreated",
            done="StockReserved",
            refused="StockRejected",
            refusal=Reason.STOCK_UNAVAILABLE,
            undo="StockReleaseRequested",
            undone="StockReleased",
            status="HELD",
        ),
        Step(
            name="payment",
            ask="OrderCreated",
            done="PaymentSucceeded",
            refused="PaymentFailed",
            refusal=Reason.PAYMENT_REFUSED,
            undo="RefundRequested",
            undone="PaymentRefunded",
            status="PAID",
        ),
        Step(
            name="screening",
            ask="OrderCreated",
            done="OrderCleared",
            refused="OrderSuspected",
            refusal=Reason.PAYMENT_REFUSED,
            outside_effect=False,
        ),
    ),
    initial="NEW",
    confirmed=Ending("ACCEPTED", "OrderConfirmed"),
    failed=Ending("REFUSED", "OrderCancelled"),
    lifecycle={
        "NEW": frozenset(("HELD", "REFUSED")),
        "HELD": frozenset(("PAID", "REFUSED")),
        "PAID": frozenset(("ACCEPTED", "REFUSED")),
        "ACCEPTED": frozenset(),
        "REFUSED": frozenset(),
    },
)


TOPICS: dict[str, tuple[type[Event], ...]] = {
    "shop.orders": (
        OrderCreated,
        OrderConfirmed,
        OrderCancelled,
        StockReleaseRequested,
        RefundRequested,
    ),
    "shop.stock": (StockReserved, StockRejected, StockReleased),
    "shop.money": (PaymentSucceeded, PaymentFailed, PaymentRefunded),
    "shop.screening": (OrderCleared, OrderSuspected),
}

SERVICES = (
    Service(
        "order-service",
        ("shop.orders",),
        {topic: TOPICS[topic] for topic in ("shop.stock", "shop.money", "shop.screening")},
    ),
    Service(
        "inventory-service",
        ("shop.stock",),
        {"shop.orders": (OrderCreated, StockReleaseRequested, OrderConfirmed)},
    ),
    Service(
        "payment-service",
        ("shop.money",),
        {"shop.stock": (StockReserved,), "shop.orders": (OrderCancelled, RefundRequested)},
    ),
    Service("screening-service", ("shop.screening",), {"shop.money": (PaymentSucceeded,)}),
    Service("notification-service", (), {"shop.orders": (OrderConfirmed, OrderCancelled)}),
)


def codec() -> EnvelopeCodec:
    """The wire form of every event of this blueprint."""
    return EnvelopeCodec({event: topic for topic, events in TOPICS.items() for event in events})


SCREENED = Blueprint(
    name=PROCESS.name,
    title="stock, payment, then a screening; the order service decides",
    source="writing-one.md",
    process=PROCESS,
    topics=TOPICS,
    services={service.name: service for service in SERVICES},
    codec=codec,
    read_foreign=read_foreign,
    orders=Orders(contract=replace(SEED_003, statuses=tuple(PROCESS.lifecycle))),
)


def screen(paid: PaymentSucceeded, limit: Decimal = LIMIT) -> Event:
    """The decision: pure, and the same each time it is asked."""
    if paid.amount <= limit:
        return OrderCleared(order_id=paid.order_id)
    return OrderSuspected(
        order_id=paid.order_id,
        reason=Reason.PAYMENT_REFUSED,
        detail=f"{paid.amount} is too much at once",
    )


async def handle(unit: UnitOfWork, received: Sequence[Received]) -> None:
    """Answer a batch; the answers, the inbox and the positions are one commit."""
    for item in received:
        if isinstance(item.event, PaymentSucceeded):
            unit.publish(screen(item.event), key=str(item.event.order_id), cause=item.message)


def routes(_blueprint: Blueprint) -> Surface:
    """It answers nobody over HTTP but those who ask for its health."""
    return Surface(routes=())


async def build(shop: Workshop) -> Built:
    """The service: one consumer, no table of its own."""
    shop.messaging.consume(shop.wiring.name, shop.wiring.events, handle)
    return Built(surface=routes(shop.blueprint))


PLAN = ServicePlan("screening-service", 7, build, routes)


class ScreeningActor:
    """Screening as the checker walks it: without a state, it only answers."""

    name = "screening"

    def __init__(self, limit: Decimal) -> None:
        self._limit = limit

    def start(self) -> Result:
        """Nothing to remember."""
        return Result(None)

    def reads(self, event: Event) -> bool:
        """What the service acts on."""
        return isinstance(event, PaymentSucceeded)

    def receive(self, state: None, event: PaymentSucceeded, *, late: bool) -> Result:  # noqa: ARG002 - its answer never changes
        """The service's own decision."""
        return Result(state, (screen(event, self._limit),))

    def moves(self, state: None, *, late: bool) -> Iterable[Move]:  # noqa: ARG002 - none
        """It never acts unasked."""
        return ()


def prove(limit: Decimal, faults: Sequence[Limits]) -> Walk:
    """Walk all that can happen to one order, screened by this limit."""

    def participants(process: Process, limits: Limits, available: int) -> list[Actor]:
        return [*checker.participants(process, limits, available), ScreeningActor(limit)]

    return checker.check(PROCESS, participants, faults)

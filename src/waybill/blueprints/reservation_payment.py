"""The blueprint `reservation` with its document's optional step: Order, Payment, Inventory, Order.

Its own topics for payments; the order service asks inventory once the order is paid, for payments
do not know the lines.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal  # noqa: TC003 - read by msgspec
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 - as above

import msgspec

from waybill.blueprints.definition import Orders, Payments, Service
from waybill.blueprints.flat import FlatCodec, Form
from waybill.blueprints.reservation import PROCESS as WITHOUT
from waybill.blueprints.reservation import RESERVATION, SERVICES
from waybill.blueprints.reservation_wire import (
    CURRENCY,
    FORMS,
    Flat,
    Item,
    OrderCancelled,
    OrderCreated,
    OrderFailed,
    amount,
    head,
    line,
    text,
)
from waybill.blueprints.workload import PAYMENT_PROVIDER
from waybill.commerce import contracts
from waybill.commerce.contracts import (
    Event,
    Instant,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockReleaseRequested,
)
from waybill.commerce.process import Step
from waybill.commerce.sku import made_id, sku_of

if TYPE_CHECKING:
    from waybill.commerce.contracts import OrderTerms
    from waybill.commerce.orders.domain import Order
    from waybill.messaging.core.message import Message

REQUESTED = "inventory.requested"
AUTHORIZED, DECLINED = "payment.authorized", "payment.declined"
REFUND_REQUESTED, REFUNDED = "payment.refund-requested", "payment.refunded"


class StockRequested(contracts.OrderCreated, frozen=True, kw_only=True):
    """The order is paid, and inventory is to reserve for it."""


class Requested(Flat, frozen=True, kw_only=True):
    """inventory.requested: an addition."""

    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1)]
    total_amount: Decimal
    not_after: Instant | None = None


class Authorized(Flat, frozen=True, kw_only=True):
    """payment.authorized."""

    payment_id: UUID
    amount: Decimal


class Declined(Flat, frozen=True, kw_only=True):
    """payment.declined; without an amount, nobody was ever asked to pay."""

    amount: Decimal | None = None
    reason: Reason
    detail: str | None = None


class RefundAsked(Flat, frozen=True, kw_only=True):
    """payment.refund-requested: an addition."""

    amount: Decimal
    reason: Reason
    payment_id: UUID | None = None


class Refunded(Flat, frozen=True, kw_only=True):
    """payment.refunded: an addition."""

    payment_id: UUID
    amount: Decimal
    refund_id: UUID


def _write_requested(event: contracts.OrderCreated, message: Message) -> Requested:
    kind, version, order_id = head(event, message)
    return Requested(
        event_type=kind,
        version=version,
        order_id=order_id,
        items=tuple([Item(sku_of(each), each.quantity, each.unit_price) for each in event.items]),
        total_amount=event.total_amount,
        not_after=event.not_after,
    )


def _read_requested(flat: Requested) -> StockRequested:
    """Whose order it is, inventory need not know."""
    return StockRequested(
        order_id=flat.order_id,
        customer_id=made_id("customer", ""),
        items=tuple([line(each.sku, each.quantity, each.unit_price) for each in flat.items]),
        total_amount=amount(flat.total_amount),
        currency=CURRENCY,
        not_after=flat.not_after,
    )


def _plain(event: type[Event], name: str, struct: type[Flat]) -> Form:
    """A form whose members are the event's own."""
    members = [each for each in event.__struct_fields__ if each != "order_id"]

    def write(told: Event, message: Message) -> Flat:
        kind, version, order_id = head(told, message)
        own: dict[str, Any] = {each: getattr(told, each) for each in members}
        return struct(event_type=kind, version=version, order_id=order_id, **own)

    def read(flat: Flat) -> Event:
        own: dict[str, Any] = {each: getattr(flat, each) for each in members}
        if own.get("amount") is not None:
            amount(own["amount"])
        if own.get("detail") is not None:
            text(own["detail"])
        return event(order_id=flat.order_id, **own)

    return Form(event, name, struct, write, read)


PAID_FORMS = (
    *FORMS,
    Form(StockRequested, REQUESTED, Requested, _write_requested, _read_requested),
    _plain(PaymentSucceeded, AUTHORIZED, Authorized),
    _plain(PaymentFailed, DECLINED, Declined),
    _plain(RefundRequested, REFUND_REQUESTED, RefundAsked),
    _plain(PaymentRefunded, REFUNDED, Refunded),
)

(_STOCK,) = WITHOUT.steps

PROCESS = replace(
    WITHOUT,
    name="reservation-paid",
    steps=(
        Step(
            name="payment",
            ask="OrderCreated",
            done="PaymentSucceeded",
            refused="PaymentFailed",
            refusal=Reason.PAYMENT_REFUSED,
            undo="RefundRequested",
            undone="PaymentRefunded",
        ),
        replace(_STOCK, ask="StockRequested", hosted=True),
    ),
)


def _with(name: str, *publishes: str, **acts_on: tuple[type[Event], ...]) -> Service:
    before = SERVICES[name]
    topics = {each.replace("__", ".").replace("_", "-"): acts_on[each] for each in acts_on}
    return Service(name, (*before.publishes, *publishes), {**before.acts_on, **topics})


_INVENTORY = SERVICES["inventory-service"]
_PAID_SERVICES = (
    _with(
        "order-service",
        *(REQUESTED, REFUND_REQUESTED),
        payment__authorized=(PaymentSucceeded,),
        payment__declined=(PaymentFailed,),
        payment__refunded=(PaymentRefunded,),
    ),
    Service(
        "inventory-service",
        _INVENTORY.publishes,
        {
            REQUESTED: (StockRequested,),
            "inventory.release-requested": (StockReleaseRequested,),
        },
    ),
    Service(
        "payment-service",
        (AUTHORIZED, DECLINED, REFUNDED),
        {
            "order.created": (OrderCreated,),
            "order.failed": (OrderFailed,),
            "order.canceled": (OrderCancelled,),
            REFUND_REQUESTED: (RefundRequested,),
        },
    ),
    SERVICES["notification-service"],
)


def codec() -> FlatCodec:
    """The wire form of every event of this blueprint."""
    return FlatCodec(PAID_FORMS)


def _bill(event: object) -> OrderTerms | None:
    return event if isinstance(event, OrderCreated) else None


def _wanted(event: object) -> OrderTerms | None:
    return event if isinstance(event, StockRequested) else None


def _requested(order: Order) -> Event:
    created: Any = RESERVATION.orders.makers["OrderCreated"](order)
    return StockRequested(
        order_id=created.order_id,
        customer_id=created.customer_id,
        items=created.items,
        total_amount=created.total_amount,
        currency=created.currency,
        not_after=created.not_after,
    )


RESERVATION_PAID = replace(
    RESERVATION,
    name=PROCESS.name,
    title="reservation with its optional step (WAYBILL_PAYMENT_STEP): payment, then stock",
    process=PROCESS,
    topics={form.name: (form.event,) for form in PAID_FORMS},
    services={service.name: service for service in _PAID_SERVICES},
    codec=codec,
    payments=Payments(charges=_bill),
    stock=replace(RESERVATION.stock, wants=_wanted),
    orders=Orders(
        contract=RESERVATION.orders.contract,
        personal=RESERVATION.orders.personal,
        makers={**RESERVATION.orders.makers, "StockRequested": _requested},
    ),
    workload=replace(RESERVATION.workload, target=PAYMENT_PROVIDER),
)

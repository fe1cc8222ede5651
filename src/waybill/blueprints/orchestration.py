"""The blueprint `orchestration` (seed 004): payment, then stock; the orchestrator decides.

The order service follows what the orchestrator tells it, and only that makes an order terminal
(protocol M8). A customer's cancel is a wish that it passes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.blueprints import orchestration_http, workload
from waybill.blueprints.definition import Blueprint, Orders, Payments, Service, Stock
from waybill.blueprints.enveloped import foreign_reader
from waybill.blueprints.orchestration_events import (
    ORDER_PREFIX,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentSucceeded,
    Shortage,
    StockRejected,
    order_id_of,
)
from waybill.blueprints.orchestration_process import FOLLOWED, PAID, PROCESS, PROCESSING
from waybill.blueprints.orchestration_wire import (
    FORMS,
    INVENTORY_EVENTS,
    ORDER_EVENTS,
    PAYMENT_EVENTS,
    codec,
)
from waybill.commerce import contracts
from waybill.commerce.contracts import (
    OrderCancelRequested,
    OrderPaid,
    OrderProcessing,
    PaymentRefunded,
    Reason,
    RefundRequested,
    StockReleased,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.inventory.sku_api import sku_surface
from waybill.commerce.notifications.domain import Notification
from waybill.commerce.orchestrator.domain import Orchestration
from waybill.commerce.payments.domain import ChargeEvents
from waybill.commerce.sku import sku_of, with_skus
from waybill.messaging.core.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.commerce.contracts import Event, Line, OrderTerms
    from waybill.commerce.inventory.domain import Reservation
    from waybill.commerce.orchestrator.domain import Saga
    from waybill.commerce.orders.domain import Order
    from waybill.commerce.payments.domain import ChargeRequest, Payment

TOPICS: dict[str, tuple[type[Event], ...]] = {
    topic: tuple(event for form in FORMS if form.topic == topic for event in form.events)
    for topic in (ORDER_EVENTS, PAYMENT_EVENTS, INVENTORY_EVENTS)
}
"""Each topic with the events that stand in it; the key is the order's id everywhere."""

ENDINGS = (OrderConfirmed, OrderCancelled)
"""Both are OrderCompleted on the wire: who acts on one of them reads both."""
SERVICES = {
    service.name: service
    for service in (
        Service(
            "order-service",
            (ORDER_EVENTS,),
            {ORDER_EVENTS: (OrderProcessing, OrderPaid, *ENDINGS)},
            tells=(OrderCreated, OrderCancelRequested),
        ),
        Service(
            "orchestrator",
            (ORDER_EVENTS,),
            {
                ORDER_EVENTS: (OrderCreated, OrderCancelRequested),
                PAYMENT_EVENTS: (PaymentSucceeded, PaymentFailed, PaymentRefunded),
                INVENTORY_EVENTS: (StockReserved, StockRejected, StockReleased),
            },
            tells=(
                OrderProcessing,
                OrderPaid,
                *ENDINGS,
                RefundRequested,
                StockReleaseRequested,
                OrderCreated,  # when its deadline asks again
            ),
        ),
        Service(
            "payment-service",
            (PAYMENT_EVENTS,),
            {ORDER_EVENTS: (OrderCreated, *ENDINGS, RefundRequested)},
        ),
        Service(
            "inventory-service",
            (INVENTORY_EVENTS,),
            {
                PAYMENT_EVENTS: (PaymentSucceeded,),
                ORDER_EVENTS: (StockReleaseRequested, *ENDINGS),
            },
            patient=ENDINGS,
        ),
        Service("notification-service", (), {ORDER_EVENTS: ENDINGS}, patient=ENDINGS),
    )
}


def _created(order: Order) -> Event:
    kept = orchestration_http.particulars_of(order.particulars or b"")
    return OrderCreated(
        order_id=order.id,
        customer_id=order.customer_id,
        user_id=kept.user_id,
        items=with_skus(order.items, kept.skus),
        total_amount=order.total_amount,
        currency=order.currency,
        not_after=order.not_after,
    )


def _order_of(saga: Saga) -> OrderCreated:
    if not isinstance(saga.order, OrderCreated):
        raise TypeError(f"a saga of this blueprint holds {type(saga.order).__name__}")
    return saga.order


def _confirmed(saga: Saga) -> Event:
    order = _order_of(saga)
    return OrderConfirmed(
        order_id=order.order_id,
        user_id=order.user_id,
        total_amount=order.total_amount,
        currency=order.currency,
    )


def _cancelled(saga: Saga) -> Event:
    order = _order_of(saga)
    return OrderCancelled(
        order_id=order.order_id,
        user_id=order.user_id,
        total_amount=order.total_amount,
        currency=order.currency,
        reason=saga.reason,
        detail=saga.progress.detail,
    )


def _refund(saga: Saga) -> Event:
    return RefundRequested(
        order_id=saga.order_id,
        amount=saga.order.total_amount,
        reason=saga.reason,
        payment_id=saga.payment_id,
    )


ORCHESTRATION_OF_SAGAS = Orchestration(
    order=OrderCreated,
    progress={PROCESSING: "OrderProcessing", PAID: "OrderPaid"},
    makers={
        "OrderCreated": _order_of,
        "OrderProcessing": lambda saga: OrderProcessing(order_id=saga.order_id),
        "OrderPaid": lambda saga: OrderPaid(order_id=saga.order_id),
        "OrderConfirmed": _confirmed,
        "OrderCancelled": _cancelled,
        "RefundRequested": _refund,
        "StockReleaseRequested": lambda saga: StockReleaseRequested(order_id=saga.order_id),
    },
)


def charges(event: object) -> OrderTerms | None:
    """A new order is to be paid."""
    return event if isinstance(event, contracts.OrderCreated) else None


def _captured(request: ChargeRequest, reference: str) -> PaymentSucceeded:
    return PaymentSucceeded(
        order_id=request.order_id,
        payment_id=request.payment_id,
        amount=request.amount,
        currency=request.currency,
        items=request.items,
        not_after=request.not_after,
        provider=request.provider,
        auth_code=reference,
    )


def _refused(payment: Payment) -> PaymentFailed:
    return PaymentFailed(
        order_id=payment.order_id,
        reason=payment.reason or Reason.PAYMENT_REFUSED,
        detail=payment.detail,
        amount=payment.amount,
        provider=payment.provider,
    )


def wants(event: object) -> OrderTerms | None:
    """A paid order wants its lines. Raises PermanentError for a stranger's that has none."""
    if not isinstance(event, PaymentSucceeded):
        return None
    if not event.items:
        raise PermanentError(
            f"PaymentSucceeded of order {event.order_id} has no items: whoever takes the place of "
            "our payment service copies those of OrderCreated"
        )
    return event


def _rejected(known: Reservation, shortage: Sequence[tuple[Line, int]]) -> StockRejected:
    return StockRejected(
        order_id=known.order_id,
        reason=known.reason or Reason.STOCK_UNAVAILABLE,
        detail=known.detail,
        items=tuple(Shortage(sku_of(line), line.quantity, left) for line, left in shortage),
    )


def tell(event: object) -> Notification | None:
    """How the order ended, to its user; None if it does not concern them."""
    if not isinstance(event, ENDINGS):
        return None
    shown = f"{ORDER_PREFIX}{event.order_id}"
    if isinstance(event, OrderCancelled):
        text = f"Order {shown} has failed: {event.detail or event.reason}"
    else:
        text = f"Order {shown} is confirmed: {event.total_amount} {event.currency}"
    return Notification(
        event.order_id,
        type(event).__name__,
        text,
        f"[EMAIL] {text}",
        subject=f"Your order {shown}",
        customer=event.user_id,
    )


ORCHESTRATION = Blueprint(
    name=PROCESS.name,
    title="payment, then stock; an orchestrator decides, and refunds what has no stock",
    source="seed 004",
    process=PROCESS,
    topics=TOPICS,
    services=SERVICES,
    codec=codec,
    read_foreign=foreign_reader(order_id_of),
    host="orchestrator",
    order_prefix=ORDER_PREFIX,
    headers=("occurredAt", "traceId", "spanId"),
    dead_letter_suffix=".dlq",
    orders=Orders(
        contract=orchestration_http.CONTRACT,
        makers={
            "OrderCreated": _created,
            "OrderCancelRequested": lambda order: OrderCancelRequested(order_id=order.id),
        },
        follows=FOLLOWED,
    ),
    payments=Payments(
        charges=charges, charge_events=ChargeEvents(_captured, _refused, with_lines=True)
    ),
    stock=Stock(wants=wants, reject=_rejected, surface=sku_surface),
    orchestrator=ORCHESTRATION_OF_SAGAS,
    workload=workload.SEED_004,
    tell=tell,
)

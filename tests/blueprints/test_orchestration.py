"""The blueprint `orchestration`: seed 004's JSON and headers, its statuses, its process proven."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from waybill.blueprints import orchestration_http as http
from waybill.blueprints.orchestration import (
    ORCHESTRATION,
    tell,
    wants,
)
from waybill.blueprints.orchestration_events import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentSucceeded,
    Shortage,
    StockRejected,
)
from waybill.blueprints.orchestration_process import FOLLOWED, PROCESS
from waybill.blueprints.orchestration_wire import codec
from waybill.commerce import checker, contracts
from waybill.commerce.checker import Limits
from waybill.commerce.checker.actors import InventoryActor, NotificationActor, OrderActor
from waybill.commerce.checker.orchestrator_actor import OrchestratorActor
from waybill.commerce.checker.payment_actor import PaymentActor
from waybill.commerce.contracts import Reason
from waybill.commerce.http.problem import Problem
from waybill.commerce.orders.views import OrderView, TimelineEntry
from waybill.commerce.process import CANCEL_REQUESTED, Fact, Progress, advance, begin, unanswered
from waybill.commerce.sku import SkuLine, made_id, product_of
from waybill.messaging.core.errors import PermanentError, UndecodableMessageError
from waybill.messaging.core.message import ForeignRecord, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.commerce.checker.model import Actor
    from waybill.commerce.process import Process

ORDER = UUID("f7a1c2d3-0000-7000-8000-000000000001")
read_foreign = ORCHESTRATION.read_foreign
PAYMENT = UUID("f7a1c2d3-0000-7000-8000-000000000002")
EVENT = UUID("b3e9d0da-6d1a-4f33-8a59-b7ca3e5bde3a")
AT = datetime(2026, 2, 5, 14, 30, 10, tzinfo=UTC)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CREATED: dict[str, Any] = {
    "eventId": str(EVENT),
    "traceId": TRACE,
    "type": "OrderCreated",
    "occurredAt": "2026-02-05T14:30:10Z",
    "data": {
        "orderId": f"ord_{ORDER}",
        "userId": "usr_001",
        "items": [{"sku": "SKU-123", "qty": 2, "price": 1200}],
        "currency": "LKR",
        "total": 2400,
    },
}
LINE = SkuLine(product_of("SKU-123") or UUID(int=0), 2, Decimal(1200), "SKU-123")
HELD = msgspec.structs.replace(LINE, unit_price=Decimal(0))
BODY = b'{"userId":"usr_001","items":[{"sku":"SKU-123","qty":2,"price":1200}],"currency":"LKR"}'


def envelope(name: str, value: bytes = b"") -> Message:
    """As the unit of work makes it."""
    return Message(
        id=EVENT,
        topic="order.events",
        type=name,
        key=str(ORDER),
        value=value,
        occurred_at=AT,
        correlation_id=str(ORDER),
        traceparent=f"00-{TRACE}-{SPAN}-01",
        producer="order-service",
        headers={},
    )


def written(event: contracts.Event) -> dict[str, Any]:
    """What stands on the wire for it; it must come back as it is."""
    wire = codec()
    name = wire.type_name(event)
    value = wire.encode(event, envelope(name))
    assert wire.decode(envelope(name, value)) == event
    told: dict[str, Any] = json.loads(value)
    return told


def created(**changes: Any) -> OrderCreated:  # noqa: ANN401 - any member
    """The document's order."""
    return OrderCreated(
        **{
            "order_id": ORDER,
            "customer_id": made_id("user", "usr_001"),
            "user_id": "usr_001",
            "items": (LINE,),
            "total_amount": Decimal(2400),
            "currency": "LKR",
            **changes,
        }
    )


def test_order_created_is_written_as_documented() -> None:
    """Member for member, in the document's order; the deadline is an addition."""
    assert json.dumps(written(created())) == json.dumps(CREATED)
    late = written(created(not_after=AT + timedelta(minutes=15)))
    assert late["data"] == {**CREATED["data"], "notAfter": "2026-02-05T14:45:10Z"}


def test_a_record_has_the_documented_headers() -> None:
    """eventId, eventType, correlationId and producer are every record's; these are added."""
    message = envelope("OrderCreated")
    codec().encode(created(), message)
    assert message.headers == {
        "occurredAt": b"2026-02-05T14:30:10Z",
        "traceId": TRACE.encode(),
        "spanId": SPAN.encode(),
    }


def test_answers_are_written_as_documented() -> None:
    """The document's members first; `items` tells inventory what to hold."""
    paid = PaymentSucceeded(
        order_id=ORDER,
        payment_id=PAYMENT,
        amount=Decimal(2400),
        currency="LKR",
        items=(HELD,),
        provider="Stripe",
        auth_code="A1B2C3",
    )
    data = written(paid)["data"]
    assert list(data)[:5] == ["orderId", "paymentId", "amount", "provider", "authCode"]
    assert (data["paymentId"], data["amount"]) == (f"pay_{PAYMENT}", 2400)
    assert (data["provider"], data["authCode"]) == ("Stripe", "A1B2C3")
    assert data["items"] == [{"sku": "SKU-123", "qty": 2}]
    reserved = contracts.StockReserved(
        order_id=ORDER, items=(HELD,), total_amount=Decimal(0), currency="XXX"
    )
    told = written(reserved)
    assert (told["type"], told["data"]) == (
        "InventoryReserved",
        {
            "orderId": f"ord_{ORDER}",
            "reservations": [{"sku": "SKU-123", "qty": 2}],
            "warehouse": "WH-01",
        },
    )


def test_both_endings_are_one_event() -> None:
    """OrderCompleted says how it ended; readers get the canonical one back."""
    about: dict[str, Any] = {
        "order_id": ORDER,
        "user_id": "usr_001",
        "total_amount": Decimal(2400),
        "currency": "LKR",
    }
    confirmed = written(OrderConfirmed(**about))
    assert (confirmed["type"], confirmed["data"]) == (
        "OrderCompleted",
        {
            "orderId": f"ord_{ORDER}",
            "userId": "usr_001",
            "status": "CONFIRMED",
            "total": 2400,
            "currency": "LKR",
        },
    )
    failed = written(OrderCancelled(**about, reason=Reason.STOCK_UNAVAILABLE))
    assert failed["type"] == "OrderCompleted"
    assert (failed["data"]["status"], failed["data"]["reason"]) == ("FAILED", "stock_unavailable")


def test_refusals_are_written_as_decided() -> None:
    """Contracts 7: PaymentFailed and InventoryFailed with all of their members, reason too."""
    refused = PaymentFailed(
        order_id=ORDER,
        reason=Reason.PAYMENT_REFUSED,
        amount=Decimal(2400),
        provider="Stripe",
        detail="no",
    )
    assert written(refused)["data"] == {
        "orderId": f"ord_{ORDER}",
        "amount": 2400,
        "reason": "payment_refused",
        "provider": "Stripe",
        "detail": "no",
    }
    rejected = StockRejected(
        order_id=ORDER,
        reason=Reason.STOCK_UNAVAILABLE,
        items=(Shortage(sku="SKU-1", qty=3, available=1),),
    )
    assert written(rejected)["data"] == {
        "orderId": f"ord_{ORDER}",
        "reason": "stock_unavailable",
        "items": [{"sku": "SKU-1", "qty": 3, "available": 1}],
    }


@pytest.mark.parametrize(
    "event",
    [
        PaymentFailed(
            order_id=ORDER, reason=Reason.PAYMENT_REFUSED, amount=Decimal(2400), detail="no"
        ),
        PaymentSucceeded(order_id=ORDER, payment_id=PAYMENT, amount=Decimal(2400), currency="LKR"),
        contracts.RefundRequested(
            order_id=ORDER,
            payment_id=PAYMENT,
            amount=Decimal(2400),
            reason=Reason.STOCK_UNAVAILABLE,
        ),
        contracts.RefundRequested(
            order_id=ORDER, amount=Decimal(2400), reason=Reason.CUSTOMER_CANCELLED
        ),
        contracts.PaymentRefunded(
            order_id=ORDER, payment_id=PAYMENT, amount=Decimal(2400), refund_id=EVENT
        ),
        contracts.StockReleaseRequested(order_id=ORDER),
        contracts.StockReleased(order_id=ORDER),
        contracts.OrderCancelRequested(order_id=ORDER),
        contracts.OrderProcessing(order_id=ORDER),
        contracts.OrderPaid(order_id=ORDER),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_other_event_comes_back_as_it_is(event: contracts.Event) -> None:
    """With the order's id behind its prefix."""
    assert written(event)["data"]["orderId"] == f"ord_{ORDER}"


def record(value: object) -> ForeignRecord:
    """A stranger's, without headers."""
    return ForeignRecord(
        topic="payment.events",
        partition=0,
        offset=7,
        key=str(ORDER),
        value=msgspec.json.encode(value),
        headers={},
        timestamp=AT,
    )


def test_the_documents_examples_are_read_without_headers() -> None:
    """Two of them have neither an event id nor a time; the place of a record is its identity."""
    assert codec().decode(read_foreign(record(CREATED))) == created()
    assert read_foreign(record(CREATED)).id == EVENT
    paid = {
        "type": "PaymentSucceeded",
        "data": {
            "orderId": f"ord_{ORDER}",
            "paymentId": "pay_789",
            "amount": 2400,
            "provider": "Stripe",
            "authCode": "A1B2C3",
        },
    }
    message = read_foreign(record(paid))
    assert message.id == read_foreign(record(paid)).id
    event = codec().decode(message)
    assert isinstance(event, PaymentSucceeded)
    assert event.amount == Decimal(2400)
    assert (event.provider, event.auth_code) == ("Stripe", "A1B2C3")
    with pytest.raises(PermanentError, match="has no items"):
        wants(event)


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b"\xff",
        b'{"type":"OrderCreated","data":{"orderId":"ord_abc"}}',
        json.dumps({**CREATED, "type": "OrderPaid"}).encode(),
        json.dumps({**CREATED, "data": {**CREATED["data"], "total": 0.001}}).encode(),
    ],
)
def test_what_is_no_such_event_is_a_dead_letter(value: bytes) -> None:
    """Refused with the one error that makes a dead letter."""
    with pytest.raises(UndecodableMessageError):
        codec().decode(envelope("OrderCreated", value))


def walked(process: Process, facts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The statuses that an order walks along, and what is told on the way."""
    progress, walk, told = begin(process), [process.initial], list[str]()
    for fact in facts:
        result = advance(process, progress, Fact(fact))
        progress = result.progress
        walk += [there for _, there in result.edges]
        told += result.emits
    return walk, told


@pytest.mark.parametrize(
    ("facts", "walk", "told"),
    [
        (
            ["OrderCreated", "PaymentSucceeded", "StockReserved"],
            ["PENDING", "PROCESSING", "PAID", "CONFIRMED"],
            ["OrderConfirmed"],
        ),
        (
            ["OrderCreated", "PaymentFailed"],
            ["PENDING", "PROCESSING", "FAILED"],
            ["OrderCancelled"],
        ),
        (
            ["OrderCreated", "PaymentSucceeded", "StockRejected"],
            ["PENDING", "PROCESSING", "PAID", "FAILED"],
            ["OrderCancelled", "RefundRequested"],
        ),
        (
            ["OrderCreated", CANCEL_REQUESTED, "PaymentSucceeded", "StockReserved"],
            ["PENDING", "PROCESSING", "FAILED"],
            ["OrderCancelled", "RefundRequested", "StockReleaseRequested"],
        ),
        # All of it is heard before the order itself: nothing is decided until then.
        (
            ["StockReserved", "PaymentSucceeded", CANCEL_REQUESTED, "OrderCreated"],
            ["PENDING", "PROCESSING", "PAID", "FAILED"],
            ["OrderCancelled", "StockReleaseRequested", "RefundRequested"],
        ),
    ],
)
def test_the_orchestrator_walks_the_documents_states(
    facts: list[str], walk: list[str], told: list[str]
) -> None:
    """Every edge is one of the document's, and what was done is undone."""
    assert walked(PROCESS, facts) == (walk, told)


@pytest.mark.parametrize(
    ("facts", "walk", "told"),
    [
        (
            ["OrderProcessing", "OrderPaid", "OrderConfirmed"],
            ["PENDING", "PROCESSING", "PAID", "CONFIRMED"],
            [],
        ),
        (["OrderProcessing", "OrderCancelled"], ["PENDING", "PROCESSING", "FAILED"], []),
        # M8: the wish is passed on, and only the orchestrator's answer ends the order.
        (
            ["OrderProcessing", CANCEL_REQUESTED, "OrderPaid", "OrderConfirmed"],
            ["PENDING", "PROCESSING", "PAID", "CONFIRMED"],
            ["OrderCancelRequested"],
        ),
        (
            [CANCEL_REQUESTED, "OrderCancelled", "OrderProcessing"],
            ["PENDING", "PROCESSING", "FAILED"],
            ["OrderCancelRequested"],
        ),
    ],
)
def test_the_order_service_only_follows(facts: list[str], walk: list[str], told: list[str]) -> None:
    """M8: nothing but the orchestrator's events changes a status."""
    assert walked(FOLLOWED, facts) == (walk, told)


def test_an_order_that_nobody_took_is_told_again() -> None:
    """M8's backstop: the order service asks with OrderCreated, and with the wish, until it ends."""
    assert unanswered(FOLLOWED, begin(FOLLOWED)) == ("OrderCreated",)
    wished = advance(FOLLOWED, begin(FOLLOWED), Fact(CANCEL_REQUESTED)).progress
    assert unanswered(FOLLOWED, wished) == ("OrderCreated", "OrderCancelRequested")
    assert unanswered(FOLLOWED, Progress("FAILED")) == ()


def participants(process: Process, limits: Limits, available: int) -> list[Actor]:
    """The services of this blueprint, with the events that they make."""
    kept = msgspec.json.encode(http.Particulars("usr_001", ("SKU-123",)))
    blueprint = ORCHESTRATION
    assert blueprint.orchestrator is not None
    return [
        OrderActor(FOLLOWED, makers=blueprint.orders.makers, particulars=kept),
        OrchestratorActor(process, blueprint.orchestrator),
        InventoryActor(available, wants=blueprint.stock.wants),
        PaymentActor(
            unknowns=limits.unknowns,
            strays=limits.strays,
            charges=blueprint.payments.charges,
            charge_events=blueprint.payments.charge_events,
        ),
        NotificationActor(blueprint.tell),
    ]


def may_lose(actor: str, event: object) -> bool:
    """As everywhere; and to the order service an ending is told once."""
    told_once = actor == "order" and type(event).__name__ == "OrderCancelled"
    return checker.is_repeated(actor, event) and not told_once


FAULTS = (Limits(duplicates=1), Limits(dead_letters=1, losses=1), Limits(unknowns=1, strays=1))
"""Five actors have many more orders of events than three: one fault at a time."""


@pytest.mark.parametrize("limits", FAULTS, ids=str)
def test_the_checker_finds_nothing(limits: Limits) -> None:
    """Every interleaving ends, paid and in stock, or undone; told once."""
    walk = checker.check(PROCESS, participants, (limits,), may_lose=may_lose)
    assert walk.counterexample is None, str(walk.counterexample)
    assert walk.endings > 100


def test_the_checker_finds_a_refund_that_is_forgotten() -> None:
    """A process that leaves the money where stock fails is caught."""
    taken, payment, stock = PROCESS.steps
    forgetful = replace(payment, undo=None, undone=None, outside_effect=False)
    process = replace(PROCESS, steps=(taken, forgetful, stock))
    walk = checker.check(process, participants, (Limits(),), may_lose=may_lose)
    assert walk.counterexample is not None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (BODY.replace(b"usr_001", b"alice@example.com"), "/userId"),
        (BODY.replace(b'"usr_001"', b"1"), "/userId"),
        (BODY.replace(b'"SKU-123"', b'""'), "/items/0/sku"),
        (BODY.replace(b'"price":1200', b'"price":0'), "/items/0/price"),
        (BODY.replace(b'"qty":2', b'"qty":0'), "/items/0/qty"),
        (BODY.replace(b',"currency":"LKR"', b""), "/currency"),
    ],
)
def test_a_body_that_is_not_valid_is_told_where(body: bytes, pointer: str) -> None:
    """400 with a pointer at each mistake, in the document's names."""
    with pytest.raises(Problem) as refused:
        http.parse(body)
    assert refused.value.status == 400
    assert f"#{pointer}" in [error.pointer for error in refused.value.errors]


def view() -> OrderView:
    """An order as it is stored."""
    content = http.parse(BODY)
    return OrderView(
        ORDER, content.customer_id, "FAILED", Decimal("2400.00"), "LKR", content.items, AT, AT
    )


@pytest.mark.parametrize(
    ("statuses", "reason", "events"),
    [
        (
            ["PENDING", "PROCESSING", "PAID", "CONFIRMED"],
            None,
            ["OrderCreated", "PaymentSucceeded", "InventoryReserved", "OrderCompleted"],
        ),
        (
            ["PENDING", "PROCESSING", "FAILED"],
            "payment_refused",
            ["OrderCreated", "PaymentFailed", "OrderCompleted"],
        ),
        (
            ["PENDING", "PROCESSING", "PAID", "FAILED"],
            "stock_unavailable",
            ["OrderCreated", "PaymentSucceeded", "InventoryFailed", "OrderCompleted"],
        ),
        (
            # Inventory's refusal was quicker at the orchestrator than the payment that asked it.
            ["PENDING", "PROCESSING", "FAILED"],
            "stock_unavailable",
            ["OrderCreated", "PaymentSucceeded", "InventoryFailed", "OrderCompleted"],
        ),
    ],
)
def test_the_timeline_has_the_documents_events(
    statuses: list[str], reason: str | None, events: list[str]
) -> None:
    """In the order of time, as its example shows, whichever news came first."""
    way = [
        TimelineEntry(number, "any", here, there, AT + timedelta(seconds=number))
        for number, (here, there) in enumerate(zip([None, *statuses], statuses, strict=False), 1)
    ]
    shown = json.loads(msgspec.json.encode(http.show_way(view(), None, way, reason)))
    assert list(shown) == ["orderId", "status", "total", "currency", "timeline"]
    assert [moment["event"] for moment in shown["timeline"]] == events
    assert shown["timeline"][0] == {"at": "2026-02-05T14:30:11Z", "event": "OrderCreated"}


def test_a_cancelled_orders_timeline_blames_nobody() -> None:
    """The wish stands in it, and the end."""
    way = [
        TimelineEntry(1, "OrderCreated", None, "PENDING", AT),
        TimelineEntry(2, "OrderProcessing", "PENDING", "PROCESSING", AT),
        TimelineEntry(3, CANCEL_REQUESTED, "PROCESSING", None, AT),
        TimelineEntry(4, "OrderCancelled", "PROCESSING", "FAILED", AT),
    ]
    shown = http.show_way(view(), None, way, "customer_cancelled")
    events = [moment.event for moment in shown.timeline]
    assert events == ["OrderCreated", "OrderCancelRequested", "OrderCompleted"]


def test_a_customer_is_told_by_the_users_id() -> None:
    """Whoever sends the mail finds the address; it stands in no event (R243)."""
    notification = tell(
        OrderConfirmed(
            order_id=ORDER, user_id="usr_001", total_amount=Decimal(2400), currency="LKR"
        )
    )
    assert notification is not None
    assert (notification.customer, notification.kind) == ("usr_001", "OrderConfirmed")
    assert notification.message == f"Order ord_{ORDER} is confirmed: 2400 LKR"
    assert tell(contracts.OrderPaid(order_id=ORDER)) is None

"""The blueprint `checkout`: seed 002's events and HTTP, its statuses, its process proven."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from waybill.blueprints import checkout_http as http
from waybill.blueprints.checkout import CHECKOUT, PROCESS, TOPICS, tell
from waybill.blueprints.checkout_wire import (
    Level,
    OrderCreated,
    StockRejected,
    StockReserved,
    accept,
    codec,
    reject,
    sold,
)
from waybill.commerce import checker, contracts
from waybill.commerce.checker.actors import InventoryActor, NotificationActor
from waybill.commerce.checker.paying_actor import PayingOrderActor
from waybill.commerce.checker.payment_actor import PaymentActor
from waybill.commerce.contracts import (
    Line,
    OrderCancelled,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
)
from waybill.commerce.http.problem import Problem
from waybill.commerce.inventory.domain import (
    MoveKind,
    Reservation,
    ReservationStatus,
    Stock,
    decide,
)
from waybill.commerce.orders import domain
from waybill.commerce.orders.request import fingerprint
from waybill.commerce.process import (
    CANCEL_REQUESTED,
    Fact,
    advance,
    begin,
    may_cancel,
    settled,
    unanswered,
)
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError
from waybill.messaging.core.message import Message
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.commerce.checker.model import Actor, Limits
    from waybill.commerce.process import Process, Progress

ORDER, PRODUCT, CUSTOMER, PAYMENT = (UUID(int=number) for number in range(1, 5))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LINES = (Line(PRODUCT, 2, Decimal("29.99")),)
CREATED = OrderCreated(
    order_id=ORDER,
    customer_id=CUSTOMER,
    items=LINES,
    total_amount=Decimal("59.98"),
    currency="EUR",
)
EVENTS: list[contracts.Event] = [
    CREATED,
    OrderCancelled(order_id=ORDER, reason=Reason.DEADLINE, detail="late"),
    sold(ORDER, (Level(PRODUCT, 2, 5),)),
    StockRejected(order_id=ORDER, reason=Reason.STOCK_UNAVAILABLE, items=(Level(PRODUCT, 2, 0),)),
    RefundRequested(order_id=ORDER, amount=Decimal("59.98"), reason=Reason.STOCK_UNAVAILABLE),
    PaymentSucceeded(order_id=ORDER, payment_id=PAYMENT, amount=Decimal("59.98")),
    PaymentFailed(order_id=ORDER, reason=Reason.PAYMENT_REFUSED, amount=Decimal("59.98")),
    PaymentRefunded(
        order_id=ORDER, payment_id=PAYMENT, amount=Decimal("59.98"), refund_id=CUSTOMER
    ),
]
BODY = (
    b'{"items":[{"productId":"11111111-1111-1111-1111-111111111111","quantity":2,'
    b'"unitPrice":29.99}],"currency":"EUR","customer":{"name":"Alice","email":"a@example.com"},'
    b'"deliveryAddress":{"addressLine1":"Main Street 1","zipCode":"10115"}}'
)


def message(event: contracts.Event) -> Message:
    """The message of this event."""
    wire = codec()
    empty = Message(
        id=UUID(int=9),
        topic=wire.topic(event),
        type=wire.type_name(event),
        key=str(ORDER),
        value=b"",
        occurred_at=NOW,
    )
    return msgspec.structs.replace(empty, value=wire.encode(event, empty))


def payload(event: contracts.Event) -> dict[str, Any]:
    """What stands in its envelope."""
    envelope = json.loads(message(event).value, parse_float=Decimal)
    assert list(envelope) == [
        *("eventId", "eventType", "occurredAt", "correlationId", "causationId", "version"),
        "payload",
    ]
    inner: dict[str, Any] = envelope["payload"]
    return inner


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_comes_back_as_it_was(event: contracts.Event) -> None:
    """Written and read: the same event, in the topic that has it."""
    assert codec().decode(message(event)) == event
    assert type(event) in TOPICS[message(event).topic]


def test_order_created_is_written_as_decided() -> None:
    """Its topic, its name and its members (contracts 7)."""
    assert message(CREATED).topic == message(CREATED).type == "order.created"
    assert payload(CREATED) == {
        "orderId": str(ORDER),
        "customerId": str(CUSTOMER),
        "items": [{"productId": str(PRODUCT), "quantity": 2, "unitPrice": Decimal("29.99")}],
        "totalAmount": Decimal("59.98"),
        "currency": "EUR",
    }


def test_inventory_updated_says_what_is_left() -> None:
    """COMMITTED or REJECTED, with each line's quantity and what remains (contracts 7)."""
    accepted = accept(CREATED, lambda _: 5)
    level = {"productId": str(PRODUCT), "quantity": 2, "remaining": 5}
    assert message(accepted).topic == message(accepted).type == "inventory.updated"
    assert payload(accepted) == {
        "orderId": str(ORDER),
        "status": "COMMITTED",
        "reason": None,
        "items": [level],
    }
    refused = reject(Reservation(ORDER, ReservationStatus.REJECTED), [(LINES[0], 1)])
    assert payload(refused) == {
        "orderId": str(ORDER),
        "status": "REJECTED",
        "reason": "stock_unavailable",
        "items": [{**level, "remaining": 1}],
    }


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"COMMITTED"', b'"DONE"'),
        (b'"remaining":5', b'"remaining":-1'),
        (b'"version":1', b'"version":2'),
        (b'"eventType":"inventory.updated"', b'"eventType":"order.created"'),
        (b"{", b"["),
    ],
)
def test_what_is_no_such_event_is_a_dead_letter(good: bytes, bad: bytes) -> None:
    """One error and no other, so that it ends in `.DLT` (protocol C7)."""
    sound = message(EVENTS[2])
    assert good in sound.value
    broken = msgspec.structs.replace(sound, value=sound.value.replace(good, bad, 1))
    with pytest.raises(UndecodableMessageError):
        codec().decode(broken)


def fold(facts: Sequence[str]) -> tuple[Progress, list[tuple[str, str]], list[str]]:
    """Progress, edges and emits after these facts."""
    progress = begin(PROCESS)
    edges: list[tuple[str, str]] = []
    emits: list[str] = []
    for name in facts:
        result = advance(PROCESS, progress, Fact(name))
        progress = result.progress
        edges += result.edges
        emits += result.emits
    return progress, edges, emits


@pytest.mark.parametrize(
    ("facts", "status", "emits"),
    [
        (["PaymentSucceeded"], "CONFIRMED", ["OrderCreated"]),
        (["PaymentSucceeded", "StockReserved"], "CONFIRMED", ["OrderCreated"]),
        (["PaymentFailed"], "CANCELLED", ["OrderCancelled"]),
        ([CANCEL_REQUESTED], "CANCELLED", ["OrderCancelled"]),
        (
            ["PaymentSucceeded", "StockRejected"],
            "CANCELLED",
            ["OrderCreated", "OrderCancelled", "RefundRequested"],
        ),
        (
            [CANCEL_REQUESTED, "PaymentSucceeded"],
            "CANCELLED",
            ["OrderCancelled", "RefundRequested"],
        ),
        (["PaymentSucceeded", "PaymentFailed"], "CONFIRMED", ["OrderCreated"]),
    ],
)
def test_statuses_follow_the_facts(facts: list[str], status: str, emits: list[str]) -> None:
    """Paid is CONFIRMED and published; refused stock undoes it; a late refusal does not (C30)."""
    progress, _, told = fold(facts)
    assert (progress.status, told) == (status, emits)


def test_a_confirmed_order_is_settled_once_its_stock_is_sold() -> None:
    """Until then it is armed, asks for its stock, and no customer can cancel it any more."""
    paid, edges, _ = fold(["PaymentSucceeded"])
    assert edges == [("PENDING", "CONFIRMED")]
    assert not settled(PROCESS, paid)
    assert unanswered(PROCESS, paid) == ("OrderCreated",)
    assert not may_cancel(PROCESS, paid)
    assert settled(PROCESS, fold(["PaymentSucceeded", "StockReserved"])[0])
    refused = fold(["PaymentSucceeded", "StockRejected"])[0]
    assert unanswered(PROCESS, refused) == ("RefundRequested",)
    assert settled(PROCESS, fold(["PaymentSucceeded", "StockRejected", "PaymentRefunded"])[0])


def test_the_deadline_asks_nothing_where_a_call_is_out() -> None:
    """The call repeats itself; the order is looked at again later, and publishes nothing."""
    command = domain.PlaceOrder(CUSTOMER, LINES, "EUR")
    order, entry, first = domain.place(
        PROCESS, command, ORDER, now=NOW, deadline=timedelta(minutes=15)
    )
    assert first is None
    assert (order.version, entry.event) == (0, "OrderPlaced")
    asked = domain.ask(PROCESS, order, NOW, lambda: 0.5)
    assert asked is not None
    assert not asked.publications
    assert asked.orders[ORDER].ask_at > NOW
    assert asked.orders[ORDER].version == 0


def test_steps_that_follow_come_last() -> None:
    """A process that confirms an order before its first step, or in between, is refused."""
    payment, stock = PROCESS.steps
    with pytest.raises(ConfigurationError, match="come last"):
        replace(PROCESS, steps=(stock, payment))


def test_a_process_that_leaves_confirmed_needs_the_edge() -> None:
    """Its lifecycle has to say that a confirmed order may fail."""
    lifecycle = {**PROCESS.lifecycle, "CONFIRMED": frozenset[str]()}
    with pytest.raises(ConfigurationError, match="from CONFIRMED to CANCELLED"):
        replace(PROCESS, lifecycle=lifecycle)


def test_stock_is_sold_with_the_answer() -> None:
    """No confirmation comes: available goes down, sold goes up, in two moves of the ledger."""
    cause = message(CREATED)
    levels = {PRODUCT: Stock(PRODUCT, "thing", 7)}
    decision = decide(
        *(levels, {}, [Received(cause, CREATED)], NOW), acceptance=accept, sells_at_once=True
    )
    level = decision.levels[PRODUCT]
    assert (level.available, level.reserved, level.sold) == (5, 0, 2)
    assert [move.kind for move in decision.moves] == [MoveKind.RESERVE, MoveKind.COMMIT]
    assert decision.reservations[ORDER].status is ReservationStatus.COMMITTED
    (told,) = [each.event for each in decision.publications]
    assert told == accept(CREATED, lambda _: 5)
    again = decide(
        *(decision.levels, decision.reservations, [Received(cause, CREATED)], NOW),
        acceptance=accept,
        sells_at_once=True,
    )
    assert not again.moves
    assert [each.event for each in again.publications] == [told]


PLACED_FOR = timedelta(minutes=15)


def paid() -> tuple[domain.Order, contracts.Event]:
    """An order that was paid within its deadline, and what is published of it."""
    makers = CHECKOUT.orders.makers
    order, _, _ = domain.place(
        *(PROCESS, domain.PlaceOrder(CUSTOMER, LINES, "EUR"), ORDER),
        now=NOW,
        deadline=PLACED_FOR,
        makers=makers,
    )
    payment = PaymentSucceeded(order_id=ORDER, payment_id=PAYMENT, amount=Decimal("59.98"))
    decision = domain.answered(PROCESS, {ORDER: order}, [payment], NOW, makers)
    (created,) = decision.publications
    return decision.orders[ORDER], created.event


def test_a_paid_order_gets_its_stock_however_late_inventory_is() -> None:
    """C30: only stock that is not there gives the money back; no question has a deadline."""
    order, created = paid()
    late = NOW + PLACED_FOR + timedelta(minutes=1)
    again = domain.ask(PROCESS, order, late, lambda: 0.5, CHECKOUT.orders.makers)
    assert again is not None
    (repeated,) = again.publications
    for event in (created, repeated.event):
        assert "notAfter" not in payload(event)
        read = codec().decode(message(event))
        levels = {PRODUCT: Stock(PRODUCT, "thing", 1000)}
        decision = decide(
            *(levels, {}, [Received(message(event), read)], late),
            acceptance=accept,
            sells_at_once=True,
        )
        (told,) = [each.event for each in decision.publications]
        assert isinstance(told, StockReserved)


def test_a_deadline_in_an_older_record_is_not_heeded() -> None:
    """Topics hold order.created with `notAfter`: those orders are paid, and get their stock."""
    before = msgspec.structs.replace(CREATED, not_after=NOW)
    read = codec().decode(message(before))
    decision = decide(
        {PRODUCT: Stock(PRODUCT, "thing", 7)},
        {},
        [Received(message(before), read)],
        NOW + timedelta(days=1),
        acceptance=accept,
        sells_at_once=True,
    )
    assert decision.reservations[ORDER].status is ReservationStatus.COMMITTED


def test_a_customer_is_told_of_the_payment_and_of_a_cancellation() -> None:
    """Whoever has paid is told so; whose stock was refused then, is told that as well."""
    confirmed, cancelled = tell(CREATED), tell(EVENTS[1])
    assert confirmed is not None
    assert cancelled is not None
    assert "has been paid and is confirmed" in confirmed.message
    assert (confirmed.kind, cancelled.kind) == ("OrderCreated", "OrderCancelled")
    assert tell(EVENTS[2]) is None


def participants(process: Process, limits: Limits, available: int) -> list[Actor]:
    """The services of this blueprint."""
    return [
        PayingOrderActor(
            process,
            unknowns=limits.unknowns,
            strays=limits.strays,
            makers=CHECKOUT.orders.makers,
        ),
        InventoryActor(available, partial(decide, acceptance=accept, sells_at_once=True)),
        PaymentActor(
            unknowns=limits.unknowns, strays=limits.strays, charges=CHECKOUT.payments.charges
        ),
        NotificationActor(tell, OrderCreated),
    ]


@pytest.mark.parametrize(
    "limits",
    [
        checker.Limits(duplicates=1, dead_letters=1, losses=1),
        checker.Limits(unknowns=1, strays=1),
        *(pytest.param(each, marks=pytest.mark.long) for each in checker.FAULTS),
    ],
    ids=str,
)
def test_the_checker_finds_nothing(limits: Limits) -> None:
    """Every interleaving ends, with money and stock where the status says."""
    walk = checker.check(PROCESS, participants, [limits])
    assert walk.counterexample is None, str(walk.counterexample)
    assert walk.endings > 20


def test_the_checker_finds_a_refund_that_is_forgotten() -> None:
    """An order whose stock is refused must not keep its customer's money."""

    def forgetful(process: Process, limits: Limits, available: int) -> list[Actor]:
        order, stock, payment, told = participants(process, limits, available)
        asks = payment.reads
        payment.reads = lambda event: asks(event) and not isinstance(event, RefundRequested)  # type: ignore[method-assign] # the planted bug
        return [order, stock, payment, told]

    walk = checker.check(PROCESS, forgetful, [checker.Limits()])
    assert walk.counterexample is not None


def test_whom_and_where_to_is_kept_and_distinguishes_payloads() -> None:
    """The same key with another address is another payload; in events there is none of it."""
    content = http.parse(BODY)
    kept = http.particulars_of(content.particulars or b"")
    assert kept.customer == http.Customer(name="Alice", email="a@example.com")
    assert kept.delivery_address == http.Address(address_line1="Main Street 1", zip_code="10115")
    elsewhere = http.parse(BODY.replace(b"10115", b"10117"))
    assert fingerprint(content) != fingerprint(elsewhere)
    assert fingerprint(content) == fingerprint(http.parse(BODY.replace(b"29.99", b'"29.990"')))
    assert not CHECKOUT.personal


def test_customer_and_address_may_be_left_out() -> None:
    """C31: both are optional, and so is the currency."""
    content = http.parse(
        b'{"items":[{"productId":"11111111-1111-1111-1111-111111111111","quantity":1,'
        b'"unitPrice":"1"}]}'
    )
    assert (content.currency, content.total_amount) == ("EUR", Decimal(1))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (BODY.replace(b"a@example.com", b"alice"), "/customer/email"),
        (BODY.replace(b'"Alice"', b"5"), "/customer"),
        (BODY.replace(b'"Main Street 1"', b'"%s"' % (b"x" * 257)), "/deliveryAddress"),
        (BODY.replace(b'"EUR"', b'"euro"'), "/currency"),
        (BODY.replace(b"29.99", b"0"), "/items/0/unitPrice"),
        (BODY.replace(b'"11111111-', b'"x1111111-'), "/items/0/productId"),
        (b'{"items":[]}', "/items"),
    ],
)
def test_a_body_that_is_not_valid_is_told_where(body: bytes, pointer: str) -> None:
    """400 with a pointer at each mistake."""
    with pytest.raises(Problem) as refused:
        http.parse(body)
    assert refused.value.status == 400
    assert f"#{pointer}" in [error.pointer for error in refused.value.errors]

"""Orders decided purely: totals, timelines and events, numbered without a gap."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commerce.events import CUSTOMER, HUB, MOUSE, NOT_AFTER, NOW, ORDER, received

from waybill.blueprints.choreography import PROCESS
from waybill.commerce.contracts import (
    Event,
    Line,
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
from waybill.commerce.orders.domain import (
    Decision,
    Order,
    PlaceOrder,
    ask,
    cancel,
    decide,
    place,
    total_of,
)
from waybill.commerce.timeline import ASK_BACKOFF, TimelineEntry
from waybill.messaging.core.errors import PermanentError

if TYPE_CHECKING:
    from datetime import datetime

    from waybill.commerce.publication import Publication

ITEMS = (Line(MOUSE, 2, Decimal("29.90")), Line(HUB, 1, Decimal("10.1")))
TOTAL = Decimal("69.9")
PAYMENT = UUID(int=77)
DEADLINE = timedelta(minutes=15)

reserved = StockReserved(order_id=ORDER, items=ITEMS, total_amount=TOTAL, currency="EUR")
rejected = StockRejected(order_id=ORDER, reason=Reason.STOCK_UNAVAILABLE, detail="Insufficient")
released = StockReleased(order_id=ORDER)
paid = PaymentSucceeded(order_id=ORDER, payment_id=PAYMENT, amount=TOTAL)
unpaid = PaymentFailed(order_id=ORDER, reason=Reason.PAYMENT_REFUSED, detail="Declined")
refunded = PaymentRefunded(order_id=ORDER, payment_id=PAYMENT, amount=TOTAL, refund_id=UUID(int=78))


class Desk:
    """One order, with everything that was written about it."""

    def __init__(self) -> None:
        command = PlaceOrder(CUSTOMER, ITEMS, "EUR")
        self.order, first, publication = place(PROCESS, command, ORDER, now=NOW, deadline=DEADLINE)
        assert publication is not None
        self.timeline = [first]
        self.publications = [publication]

    def apply(self, *events: Event, now: datetime = NOW) -> Decision:
        """Decide these events as one batch."""
        items = [received(event) for event in events]
        return self.write(decide(PROCESS, {ORDER: self.order}, items, now))

    def write(self, decision: Decision | None) -> Decision:
        """Keep what was decided."""
        assert decision is not None
        self.order = decision.orders.get(ORDER, self.order)
        self.timeline += decision.timeline
        self.publications += decision.publications
        return decision

    def events(self, decision: Decision) -> list[Event]:
        """Its events."""
        return [each.event for each in decision.publications]

    @property
    def status(self) -> str:
        """The order's status."""
        return self.order.progress.status


def test_placing_an_order() -> None:
    """A new order is PENDING, begins its timeline and tells everything in its first event."""
    desk = Desk()
    assert (desk.status, desk.order.total_amount) == ("PENDING", TOTAL)
    assert desk.timeline == [TimelineEntry(ORDER, 1, "OrderCreated", None, "PENDING", NOW)]
    assert [(each.event, each.aggregate_version) for each in desk.publications] == [
        (
            OrderCreated(
                order_id=ORDER,
                customer_id=CUSTOMER,
                items=ITEMS,
                total_amount=TOTAL,
                currency="EUR",
                not_after=NOT_AFTER,
            ),
            1,
        )
    ]
    assert desk.order.ask_at == desk.order.not_after == NOT_AFTER


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.decimals("0.01", "99999", places=2)), min_size=1)
)
def test_totals_are_exact(lines: list[tuple[int, Decimal]]) -> None:
    """The total is the sum in cents, never a float's (I09)."""
    total = total_of(Line(MOUSE, quantity, price) for quantity, price in lines)
    assert total * 100 == sum(quantity * int(price * 100) for quantity, price in lines)


def test_an_early_payment_fact_confirms_in_the_end() -> None:
    """An order whose payment fact arrives before its stock fact ends CONFIRMED (D1, C40)."""
    desk = Desk()
    assert desk.apply(paid).publications == []
    assert desk.status == "PENDING"
    assert desk.events(desk.apply(reserved)) == [OrderConfirmed(order_id=ORDER)]
    assert [(each.event, each.from_status, each.to_status) for each in desk.timeline] == [
        ("OrderCreated", None, "PENDING"),
        ("PaymentSucceeded", "PENDING", None),
        ("StockReserved", "PENDING", "STOCK_RESERVED"),
        ("StockReserved", "STOCK_RESERVED", "CONFIRMED"),
    ]
    assert desk.order.settled_at == NOW


def test_one_batch_folds_as_many() -> None:
    """Two facts about one order in one batch see each other."""
    desk = Desk()
    decision = desk.apply(reserved, paid)
    assert desk.status == "CONFIRMED"
    causes = [each.cause.type for each in decision.publications if each.cause]
    assert causes == ["PaymentSucceeded"]


def test_a_refusal_tells_why() -> None:
    """The cancellation carries the refusal's code and words, and stock is asked back after it."""
    desk = Desk()
    desk.apply(reserved)
    assert desk.events(desk.apply(unpaid)) == [
        OrderCancelled(order_id=ORDER, reason=Reason.PAYMENT_REFUSED, detail="Declined"),
        StockReleaseRequested(order_id=ORDER, items=ITEMS),
    ]
    assert desk.order.settled_at is None
    later = NOW + timedelta(seconds=1)
    assert desk.apply(released, now=later).publications == []
    assert desk.order.settled_at == later


def test_a_capture_of_a_cancelled_order_is_refunded() -> None:
    """A cancelled order that turns out paid asks its payment back, by that payment's id (M5)."""
    desk = Desk()
    desk.write(cancel(PROCESS, desk.order, NOW))
    desk.apply(reserved)
    assert desk.events(desk.apply(paid)) == [
        RefundRequested(
            order_id=ORDER,
            amount=TOTAL,
            reason=Reason.CUSTOMER_CANCELLED,
            payment_id=PAYMENT,
        )
    ]
    desk.apply(released, refunded)
    assert desk.order.settled_at is not None


def test_m5_a_capture_that_a_refusal_hid_arms_a_settled_order_again() -> None:
    """M5, M6: it stays armed until its refund is answered, though it was settled before."""
    desk = Desk()
    desk.apply(reserved, unpaid, released)
    assert desk.order.settled_at == NOW
    refund = RefundRequested(
        order_id=ORDER, amount=TOTAL, reason=Reason.PAYMENT_REFUSED, payment_id=PAYMENT
    )
    assert desk.events(desk.apply(paid)) == [refund]
    armed = desk.order
    assert armed.settled_at is None
    asked = desk.write(ask(PROCESS, armed, NOT_AFTER, lambda: 0.5))
    assert desk.events(asked) == [refund]
    later = NOW + timedelta(hours=1)
    desk.apply(refunded, now=later)
    assert desk.order.settled_at == later


def test_repeats_write_nothing() -> None:
    """A fact that is known already changes no row, no timeline and tells nothing."""
    desk = Desk()
    desk.apply(reserved)
    assert desk.apply(reserved) == Decision({}, [], [])


def test_cancel_wins_or_comes_too_late() -> None:
    """Cancel and confirm: exactly one wins; a repeated cancel changes nothing (P8)."""
    desk = Desk()
    desk.apply(reserved)
    decision = desk.write(cancel(PROCESS, desk.order, NOW))
    assert [type(each) for each in desk.events(decision)] == [
        OrderCancelled,
        StockReleaseRequested,
    ]
    assert cancel(PROCESS, desk.order, NOW) == Decision({}, [], [])
    confirmed = Desk()
    confirmed.apply(reserved, paid)
    assert cancel(PROCESS, confirmed.order, NOW) is None


def test_the_deadline_asks_and_does_not_conclude() -> None:
    """What is unanswered goes out again; the order stays as it is, and the pause grows (M3)."""
    desk = Desk()
    first = desk.write(ask(PROCESS, desk.order, NOT_AFTER, lambda: 0.5))
    assert desk.events(first) == [desk.publications[0].event]
    assert desk.status == "PENDING"
    assert desk.order.ask_at == NOT_AFTER + timedelta(seconds=2.5)
    for _ in range(10):
        desk.write(ask(PROCESS, desk.order, NOT_AFTER, lambda: 0.999))
    pause = desk.order.ask_at - NOT_AFTER
    assert timedelta(seconds=59) < pause <= timedelta(seconds=ASK_BACKOFF.cap_seconds)
    desk.apply(rejected)
    assert ask(PROCESS, desk.order, NOT_AFTER, lambda: 0.5) is None


def test_the_deadline_asks_ever_more_rarely() -> None:
    """M3: a minute apart at first; a day of absence is no flood, and no day's pause."""
    chance, desk, now = Random(7), Desk(), NOT_AFTER  # noqa: S311 - a repeatable one
    pauses = []
    while now < NOT_AFTER + timedelta(hours=24):
        desk.write(ask(PROCESS, desk.order, now, chance.random))
        pauses.append((now - NOT_AFTER, desk.order.ask_at - now))
        now = desk.order.ask_at
    hours = [sum(overdue < timedelta(hours=count) for overdue, _ in pauses) for count in (8, 24)]
    assert hours[0] < 45
    assert hours[1] < 85
    minute = timedelta(minutes=1)
    assert all(pause <= max(minute, overdue) for overdue, pause in pauses)
    assert minute < max(pause for _, pause in pauses) <= timedelta(hours=1)
    assert desk.status == "PENDING"


def test_a_cancelled_order_asks_for_its_undos() -> None:
    """Silence after a cancel is asked by the undos, with no payment to name yet (M4, M5)."""
    desk = Desk()
    desk.write(cancel(PROCESS, desk.order, NOW))
    asked = desk.events(desk.write(ask(PROCESS, desk.order, NOT_AFTER, lambda: 0.5)))
    assert asked == [
        RefundRequested(order_id=ORDER, amount=TOTAL, reason=Reason.CUSTOMER_CANCELLED),
        StockReleaseRequested(order_id=ORDER, items=ITEMS),
    ]


def test_facts_about_orders_that_were_lost_are_set_aside() -> None:
    """After a restore the facts of other orders go on; a fact of no process is a dead letter."""
    decision = decide(PROCESS, {}, [received(reserved)], NOW)
    assert decision.strays == [ORDER]
    assert (decision.orders, decision.timeline, decision.publications) == ({}, [], [])
    with pytest.raises(PermanentError, match="no fact"):
        Desk().apply(OrderConfirmed(order_id=ORDER))


def test_a_clock_that_goes_back_leaves_the_timeline_monotone() -> None:
    """The timeline never goes back in time, whatever the clock does (I08)."""
    desk = Desk()
    desk.apply(reserved, now=NOW + timedelta(seconds=5))
    desk.apply(paid, now=NOW)
    instants = [each.at for each in desk.timeline]
    assert instants == sorted(instants)


facts = st.sampled_from([reserved, rejected, released, paid, unpaid, refunded])


@given(st.lists(st.one_of(facts, st.sampled_from(["cancel", "ask"])), max_size=10))
def test_every_history_is_gapless_and_legal(steps: list[Event | str]) -> None:
    """Timelines chain along legal edges to the status; both are gapless (I05, I06, I07)."""
    desk = Desk()
    for step in steps:
        if isinstance(step, Event):
            desk.apply(step)
        elif step == "cancel":
            wish = cancel(PROCESS, desk.order, NOW)
            desk.write(wish or Decision({}, [], []))
        else:
            desk.write(ask(PROCESS, desk.order, NOW, lambda: 0.5) or Decision({}, [], []))
    check_history(desk.order, desk.timeline, desk.publications)


def check_history(
    order: Order, timeline: list[TimelineEntry], publications: list[Publication]
) -> None:
    """What the audit asks of one order's history."""
    assert [entry.seq for entry in timeline] == list(range(1, order.timeline_seq + 1))
    versions = [each.aggregate_version for each in publications]
    assert versions == list(range(1, order.version + 1))
    changes = [entry for entry in timeline if entry.to_status]
    status: str | None = None
    for entry in changes:
        assert entry.from_status == status
        assert status is None or entry.to_status in PROCESS.lifecycle[status]
        status = entry.to_status
    assert status == order.progress.status
    final = [
        each for each in publications if isinstance(each.event, OrderConfirmed | OrderCancelled)
    ]
    assert len(final) == (1 if PROCESS.is_terminal(order.progress.status) else 0)

"""Payments decided purely: one charge, one refund, and an answer to everything that is asked."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commerce.events import LATE, NOT_AFTER, NOW, ORDER, created, new_ids, received

from waybill.commerce.contracts import (
    Event,
    OrderCancelled,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockReserved,
)
from waybill.commerce.payments.domain import (
    CHARGE,
    REFERENCE_CHARS_MAX,
    REFUND,
    ChargeEvents,
    ChargeRequest,
    Decision,
    Payment,
    PaymentStatus,
    RefundRequest,
    charge_settled,
    decide,
    reference_of,
    refund_settled,
    succeeded,
)
from waybill.commerce.payments.simulation import java_uuid_hash, simulated_success
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, Refused

ASK = created()
TOTAL = Decimal("59.80")
reserved = StockReserved(
    order_id=ORDER, items=ASK.items, total_amount=TOTAL, currency="EUR", not_after=NOT_AFTER
)
cancelled = OrderCancelled(order_id=ORDER, reason=Reason.CUSTOMER_CANCELLED)
refund = RefundRequested(order_id=ORDER, amount=TOTAL, reason=Reason.CUSTOMER_CANCELLED)


@pytest.mark.parametrize("with_lines", [False, True])
def test_a_charge_keeps_the_orders_lines_where_it_is_said_so(with_lines: bool) -> None:  # noqa: FBT001 - a table
    """Whatever tells of the capture: how it is told and what it is told with are two things."""
    told = ChargeEvents(lambda *told: succeeded(*told), with_lines=with_lines).by("shop")  # noqa: PLW0108 - another function
    asked = decide({}, [received(reserved)], now=NOW, new_id=new_ids(), charge_events=told)
    (delivery,) = asked.deliveries
    request = msgspec.json.decode(delivery.request, type=ChargeRequest)
    kept = [(item.product_id, item.quantity) for item in request.items]
    assert kept == ([(item.product_id, item.quantity) for item in ASK.items] if with_lines else [])
    assert request.not_after == (NOT_AFTER if with_lines else None)
    assert request.provider == ("shop" if with_lines else "")


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (b"ch_1", "ch_1"),
        ("Zürich 7".encode(), "Zürich 7"),
        (b"x" * REFERENCE_CHARS_MAX, "x" * REFERENCE_CHARS_MAX),
        (b"", ""),
        (b"x" * (REFERENCE_CHARS_MAX + 1), ""),
        (b"ch_1\n", ""),
        (b"ch\0", ""),
        (b"\xff", ""),
    ],
)
def test_a_reference_is_shown_as_it_is_or_not_at_all(result: bytes, shown: str) -> None:
    """What is no short line of text is nothing that an event can show, and never a part of it."""
    assert reference_of(result) == shown


class Books:
    """State that decisions are applied to, as the store does it."""

    def __init__(self) -> None:
        self.payments: dict[UUID, Payment] = {}
        self._new_id = new_ids()

    def apply(self, *events: Event, late: bool = False) -> Decision:
        """Decide these events as one batch."""
        items = [received(event) for event in events]
        decision = decide(self.payments, items, now=LATE if late else NOW, new_id=self._new_id)
        self.payments.update(decision.payments)
        return decision

    def answers(self, *events: Event, late: bool = False) -> list[Event]:
        """The events that a batch leads to."""
        return [each.event for each in self.apply(*events, late=late).publications]

    def settle(self, outcome: Delivered | Refused) -> Event | None:
        """A charge's last outcome."""
        done = charge_settled(self.payments[ORDER], outcome)
        if done is None:
            return None
        self.payments[ORDER], publication = done
        return publication.event

    def give_back(self, outcome: Delivered | Refused) -> Event | None:
        """A refund's last outcome."""
        done = refund_settled(self.payments[ORDER], outcome)
        if done is None:
            return None
        self.payments[ORDER], publication = done
        return publication.event

    @property
    def status(self) -> PaymentStatus:
        """Where the order's payment stands."""
        return self.payments[ORDER].status


def test_reserved_stock_is_charged_after_the_commit() -> None:
    """A reservation owes one charge, bound to the order's deadline and traced to its cause (M2)."""
    books = Books()
    item = received(reserved)
    decision = decide({}, [item], now=NOW, new_id=new_ids())
    (delivery,) = decision.deliveries
    assert (delivery.kind, delivery.key, delivery.not_after) == (CHARGE, str(ORDER), NOT_AFTER)
    assert delivery.causation_id == item.message.id
    assert delivery.correlation_id == str(ORDER)
    assert delivery.traceparent == item.message.traceparent
    payment = decision.payments[ORDER]
    assert payment.status is PaymentStatus.PENDING
    request = msgspec.json.decode(delivery.request, type=ChargeRequest)
    assert request == ChargeRequest(ORDER, payment.payment_id, TOTAL, "EUR")
    assert books.answers(reserved) == []


def test_a_charge_is_owed_once() -> None:
    """Reservations repeated under new ids, in one batch or later, charge nothing again (D19)."""
    books = Books()
    assert len(books.apply(reserved, reserved).deliveries) == 1
    assert books.apply(reserved).deliveries == []
    succeeded = books.settle(Delivered())
    assert succeeded == PaymentSucceeded(
        order_id=ORDER, payment_id=books.payments[ORDER].payment_id, amount=TOTAL
    )
    again = books.apply(reserved)
    assert again.deliveries == []
    assert [each.event for each in again.publications] == [succeeded]


@pytest.mark.parametrize(
    ("outcome", "reason", "detail"),
    [
        (Refused("declined"), Reason.PAYMENT_REFUSED, "Payment declined by provider"),
        (Refused("declined", "Card expired"), Reason.PAYMENT_REFUSED, "Card expired"),
        (Refused("cancelled"), Reason.CUSTOMER_CANCELLED, None),
        (Refused("deadline"), Reason.DEADLINE, None),
    ],
)
def test_a_refused_charge_fails_with_its_reason(
    outcome: Refused, reason: Reason, detail: str | None
) -> None:
    """The answer says who refused: the provider, the customer or the deadline."""
    books = Books()
    books.apply(reserved)
    failed = books.settle(outcome)
    assert isinstance(failed, PaymentFailed)
    assert (failed.reason, failed.amount) == (reason, TOTAL)
    assert failed.detail
    assert detail is None or failed.detail == detail
    assert books.answers(reserved) == [failed]
    assert books.answers(refund) == [failed]
    assert books.answers(cancelled) == []


def test_late_reservations_are_refused() -> None:
    """After the deadline nobody is charged, and asking in time afterwards changes nothing (M2)."""
    books = Books()
    (failed,) = books.answers(reserved, late=True)
    assert isinstance(failed, PaymentFailed)
    assert (failed.reason, failed.amount) == (Reason.DEADLINE, TOTAL)
    decision = books.apply(reserved)
    assert decision.deliveries == []
    assert [each.event for each in decision.publications] == [failed]


def test_a_cancel_marks_a_pending_charge() -> None:
    """A charge that is under way is marked, and answers when it settles (M2)."""
    books = Books()
    decision = books.apply(reserved, cancelled)
    assert decision.cancels == [ORDER]
    assert decision.publications == []
    assert books.apply(refund).cancels == [ORDER]


@pytest.mark.parametrize("undo", [cancelled, refund])
def test_an_undo_that_overtakes_the_charge_leaves_a_tombstone(undo: Event) -> None:
    """An order that was cancelled before it was charged never is, and that is answered (M4)."""
    books = Books()
    (failed,) = books.answers(undo)
    assert failed == PaymentFailed(
        order_id=ORDER, reason=Reason.CUSTOMER_CANCELLED, detail=books.payments[ORDER].detail
    )
    late = books.apply(reserved)
    assert late.deliveries == []
    assert [each.event for each in late.publications] == [failed]


def test_orders_without_stock_leave_no_trace() -> None:
    """Stock that was refused is never charged, so its cancellation needs no tombstone."""
    books = Books()
    refused = OrderCancelled(order_id=ORDER, reason=Reason.STOCK_UNAVAILABLE)
    assert books.apply(refused) == Decision({}, [], [], [], [])


def test_a_capture_is_refunded_once() -> None:
    """A refund is owed once however often it is asked for, and its outcome is repeated (P6)."""
    books = Books()
    books.apply(reserved)
    books.settle(Delivered())
    assert books.apply(cancelled) == Decision({}, [], [], [], [])
    (delivery,) = books.apply(refund, refund).deliveries
    assert (delivery.kind, delivery.key, delivery.not_after) == (REFUND, str(ORDER), None)
    request = msgspec.json.decode(delivery.request, type=RefundRequest)
    payment = books.payments[ORDER]
    assert request == RefundRequest(ORDER, payment.payment_id, request.refund_id, TOTAL, "EUR")
    assert books.answers(refund) == []
    refunded = books.give_back(Delivered())
    assert refunded == PaymentRefunded(
        order_id=ORDER,
        payment_id=payment.payment_id,
        amount=TOTAL,
        refund_id=request.refund_id,
    )
    assert books.answers(refund, reserved) == [refunded, refunded]
    assert books.give_back(Delivered()) is None


def test_a_refused_refund_stays_visible() -> None:
    """A refund that the provider refuses is no answer: it stays pending, for the audit to see."""
    books = Books()
    books.apply(reserved)
    books.settle(Delivered())
    books.apply(refund)
    assert books.give_back(Refused("closed")) is None
    assert books.status is PaymentStatus.REFUND_PENDING


def test_a_capture_found_late_is_told() -> None:
    """Captured is recorded even after a refusal, so that it can be given back (M6)."""
    books = Books()
    books.apply(reserved)
    books.settle(Refused("cancelled"))
    assert isinstance(books.settle(Delivered()), PaymentSucceeded)
    assert books.payments[ORDER].reason is None
    assert books.settle(Delivered()) is None
    assert books.settle(Refused("declined")) is None
    assert len(books.apply(refund).deliveries) == 1


events = st.lists(st.sampled_from([reserved, cancelled, refund]), max_size=8)
outcomes = st.sampled_from([Delivered(), Refused("declined"), Refused("cancelled")])


@given(events, outcomes, events)
def test_one_charge_and_one_refund_whatever_comes(
    before: list[Event], outcome: Delivered | Refused, after: list[Event]
) -> None:
    """At most one charge and one refund are owed, and events are numbered without a gap."""
    books = Books()
    first = books.apply(*before)
    charged = any(each.kind == CHARGE for each in first.deliveries)
    told = books.settle(outcome) if charged else None
    second = books.apply(*after)
    kinds = [each.kind for each in (*first.deliveries, *second.deliveries)]
    assert len(kinds) == len(set(kinds))
    assert REFUND not in kinds or books.status is PaymentStatus.REFUND_PENDING
    numbers = [each.aggregate_version for each in first.publications]
    numbers += [len(numbers) + 1] if told else []
    numbers += [each.aggregate_version for each in second.publications]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("text", "hashed", "captured"),
    [
        ("00000000-0000-4000-8000-000000000001", 85, False),
        ("11111111-1111-1111-1111-111111111111", 0, True),
        ("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", 56, True),
    ],
)
def test_the_simulator_captures_as_seed_003_does(text: str, hashed: int, captured: bool) -> None:  # noqa: FBT001 - a table
    """The rule of contracts 1.4, by vectors that were checked against Java 17."""
    order_id = UUID(text)
    assert (java_uuid_hash(order_id) & 0x7FFF_FFFF) % 100 == hashed
    assert simulated_success(order_id, success_rate=0.8) is captured


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.8, 1.0])
def test_of_our_orders_the_simulator_captures_its_share(rate: float) -> None:
    """R213: of 10,000 ids as we make them, within six standard deviations; none and all exactly."""
    captured = sum(simulated_success(new_id(), success_rate=rate) for _ in range(10_000))
    deviation = (10_000 * rate * (1 - rate)) ** 0.5
    assert abs(captured - 10_000 * rate) <= 6 * deviation


def test_the_simulator_obeys_force_outcome() -> None:
    """A forced outcome wins over the rate, in any case of letters; any other text does not."""
    order_id = UUID("00000000-0000-4000-8000-000000000001")
    assert simulated_success(order_id, success_rate=0.0, force_outcome="Success")
    assert not simulated_success(order_id, success_rate=1.0, force_outcome="FAILURE")
    assert simulated_success(order_id, success_rate=1.0, force_outcome="maybe")
    assert not simulated_success(order_id, success_rate=0.0)

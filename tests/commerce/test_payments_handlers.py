"""Payments on real databases, ours and the provider's: one capture an order, whatever comes."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.commerce.support import NOW, Service, eventually, lines, received

from waybill.commerce.contracts import (
    OrderCancelled,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockReserved,
)
from waybill.commerce.payments.domain import CHARGE, REFUND
from waybill.commerce.payments.handlers import ChargesSettled, PaymentHandler, RefundsSettled
from waybill.commerce.payments.ledger import Charge, Ledger, Refund
from waybill.commerce.payments.provider import ChargeCalls, RefundCalls
from waybill.commerce.payments.simulator import SimulatedProvider, SimulatorSettings
from waybill.commerce.payments.store import PaymentPages
from waybill.messaging.adapters.postgres.deliveries import PostgresDeliveries
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, NotFound, Refused
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.messaging.runtime.ports import SilentObserver
from waybill.messaging.testing.crash_points import CrashPlan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from waybill.commerce.contracts import Event

LEDGER = """
SELECT (SELECT count(*) FROM app.charges WHERE outcome = 'CAPTURED'),
       (SELECT count(*) FROM app.charges WHERE outcome = 'DECLINED'),
       (SELECT count(*) FROM app.refunds)
"""


class Cashier:
    """The payment service with its provider, its loops under the test's control."""

    def __init__(self, service: Service, provider: Service, settings: SimulatorSettings) -> None:
        self.service = service
        self.provider = provider
        ports = service.ports
        self.simulator = SimulatedProvider(
            provider.database,
            settings,
            clock=service.clock,
            observer=SilentObserver(),
            random=lambda: 0.5,
            new_id=new_id,
        )
        deliveries = PostgresDeliveries(service.database)
        charging, refunding = ChargeCalls(self.simulator), RefundCalls(self.simulator)
        charged, refunded = ChargesSettled(service.tally), RefundsSettled()
        self.charges = Deliverer(
            CHARGE,
            ports=ports,
            deliveries=deliveries,
            call=charging.call,
            query=charging.query,
            settled=charged.settled,
            lock=charged.lock,
        )
        self.refunds = Deliverer(
            REFUND,
            ports=ports,
            deliveries=deliveries,
            call=refunding.call,
            query=refunding.query,
            settled=refunded.settled,
            lock=refunded.lock,
        )
        self.handler = PaymentHandler(
            charges=self.charges, refunds=self.refunds, deliveries=deliveries, new_id=new_id
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the loops while the block runs."""
        loops = [*self.simulator.loops, self.charges, self.refunds]
        tasks = [asyncio.create_task(loop.run()) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def handle(self, *events: Event) -> list[Event]:
        """Run one batch; what it published at once."""
        return await self.service.handle(self.handler, events)

    async def answers(self, count: int) -> list[Any]:
        """All events published so far, once there are `count`."""

        async def enough() -> bool:
            return len(await self.service.published()) >= count

        await eventually(enough)
        return await self.service.published()

    async def ledger(self) -> tuple[int, int, int]:
        """Captured, declined, refunded, in the provider's own books."""
        (row,) = await self.provider.rows(LEDGER)
        return row[0], row[1], row[2]


def cashier(
    service: Service, provider: Service, *, outcome: str = "success", delay_seconds: float = 0.0
) -> Cashier:
    """A cashier whose provider answers as wanted."""
    settings = SimulatorSettings(force_outcome=outcome, delay_seconds=delay_seconds)
    return Cashier(service, provider, settings)


def reserved(order_id: UUID | None = None, **changes: Any) -> StockReserved:  # noqa: ANN401 - fields
    """Stock is reserved for an order of 20.00 EUR."""
    fields = {
        "items": lines((new_id(), 2, "10.00")),
        "total_amount": Decimal("20.00"),
        "currency": "EUR",
        "not_after": NOW + timedelta(minutes=15),
        **changes,
    }
    return StockReserved(order_id=order_id or new_id(), **fields)


async def test_reserved_stock_is_charged_once(payment: Service, provider: Service) -> None:
    """R155: the capture is in the provider's ledger, in our books, and in one event."""
    desk = cashier(payment, provider)
    ask = reserved()
    async with desk.open():
        assert await desk.handle(ask) == []
        (event,) = await desk.answers(1)
    assert event == PaymentSucceeded(
        order_id=ask.order_id, payment_id=event.payment_id, amount=Decimal("20.00")
    )
    assert await desk.ledger() == (1, 0, 0)
    (shown,) = await PaymentPages(payment.database).payments(ask.order_id)
    assert (shown.id, shown.status, shown.amount) == (
        *(event.payment_id, "SUCCEEDED"),
        Decimal("20.00"),
    )
    assert payment.tally.counts == {"payments_processed_total{outcome=success}": 1}
    trace = await payment.rows(
        "SELECT causation_id IS NOT NULL, correlation_id FROM messaging.outbox"
    )
    assert trace == [(True, str(ask.order_id))]


async def test_a_declined_payment_fails_with_the_documents_text(
    payment: Service, provider: Service
) -> None:
    """R156: the provider's no is a business answer."""
    desk = cashier(payment, provider, outcome="failure")
    ask = reserved()
    async with desk.open():
        await desk.handle(ask)
        (event,) = await desk.answers(1)
    assert event == PaymentFailed(
        order_id=ask.order_id,
        reason=Reason.PAYMENT_REFUSED,
        detail="Payment declined by provider",
        amount=Decimal("20.00"),
    )
    assert await desk.ledger() == (0, 1, 0)
    assert payment.tally.counts == {"payments_processed_total{outcome=failure}": 1}


async def test_an_ask_that_comes_again_is_never_charged_again(
    payment: Service, provider: Service
) -> None:
    """D19, B53: a StockReserved under a new id gets the recorded answer, not a second charge."""
    desk = cashier(payment, provider)
    ask = reserved()
    async with desk.open():
        await desk.handle(ask, ask)
        (first,) = await desk.answers(1)
        assert await desk.handle(ask) == [first]
    assert await desk.ledger() == (1, 0, 0)


async def test_a_cancelled_order_is_refused_before_it_is_charged(
    payment: Service, provider: Service
) -> None:
    """M2: the mark is read before the call, so a charge that is still owed is never made."""
    desk = cashier(payment, provider)
    ask = reserved()
    await desk.handle(ask)
    await desk.handle(
        OrderCancelled(order_id=ask.order_id, reason=Reason.CUSTOMER_CANCELLED, detail="No more")
    )
    async with desk.open():
        (event,) = await desk.answers(1)
    assert isinstance(event, PaymentFailed)
    assert event.reason is Reason.CUSTOMER_CANCELLED
    assert await desk.ledger() == (0, 0, 0)


async def test_past_its_deadline_nothing_is_charged(payment: Service, provider: Service) -> None:
    """M2: after an outage nobody charges dead orders, neither at the ask nor at the call."""
    desk = cashier(payment, provider)
    in_time, late = reserved(), reserved(not_after=NOW - timedelta(seconds=1))
    (refused,) = await desk.handle(in_time, late)
    payment.clock.instant += timedelta(minutes=20)
    async with desk.open():
        events = await desk.answers(2)
    assert refused == events[0]
    assert {event.order_id for event in events} == {in_time.order_id, late.order_id}
    assert [event.reason for event in events] == [Reason.DEADLINE] * 2
    assert await desk.ledger() == (0, 0, 0)


async def test_a_tombstone_refuses_what_comes_late(payment: Service, provider: Service) -> None:
    """M4: an order that was cancelled before it was asked for is never charged."""
    desk = cashier(payment, provider)
    ask = reserved()
    cancelled = OrderCancelled(order_id=ask.order_id, reason=Reason.CUSTOMER_CANCELLED)
    async with desk.open():
        (answer,) = await desk.handle(cancelled)
        assert isinstance(answer, PaymentFailed)
        (again,) = await desk.handle(ask)
    assert isinstance(again, PaymentFailed)
    assert await desk.ledger() == (0, 0, 0)
    assert await payment.rows("SELECT * FROM public.payments") == []


async def test_money_of_a_cancelled_order_goes_back_once(
    payment: Service, provider: Service
) -> None:
    """M1: cancelled while the provider was capturing: the capture is told, refunded, and told."""
    desk = cashier(payment, provider, delay_seconds=0.05)
    ask = reserved()
    async with desk.open():
        await desk.handle(ask)
        (paid,) = await desk.answers(1)
        wanted = RefundRequested(
            order_id=ask.order_id,
            payment_id=paid.payment_id,
            amount=Decimal("20.00"),
            reason=Reason.CUSTOMER_CANCELLED,
        )
        await desk.handle(wanted, wanted)
        refund = (await desk.answers(2))[1]
        assert await desk.handle(wanted) == [refund]
    assert isinstance(refund, PaymentRefunded)
    assert (refund.payment_id, refund.amount) == (paid.payment_id, Decimal("20.00"))
    assert await desk.ledger() == (1, 0, 1)
    rows = await payment.rows("SELECT status, refunded_at IS NOT NULL, version FROM app.payments")
    assert rows == [("REFUNDED", True, 3)]


async def test_money_whose_capture_was_not_answered_is_found_although_the_order_is_cancelled(
    payment: Service, provider: Service
) -> None:
    """M6: the provider wrote and its answer got lost; a cancel asks first, and never guesses."""
    desk = cashier(payment, provider)
    ask = reserved()
    cancelled = OrderCancelled(order_id=ask.order_id, reason=Reason.CUSTOMER_CANCELLED)
    with CrashPlan() as plan:
        lost = plan.do_then_fail("provider.before_write", match="charge")
        async with desk.open():
            await desk.handle(ask)
            await lost.reached()
            await desk.handle(cancelled)
            (told,) = await desk.answers(1)
    assert isinstance(told, PaymentSucceeded)
    assert await desk.ledger() == (1, 0, 0)


async def test_a_batch_of_200_takes_as_many_statements_as_a_batch_of_one(
    payment: Service, provider: Service
) -> None:
    """Statements a batch are a constant: lock and load, insert, owe."""
    desk = cashier(payment, provider)
    counts = []
    for size in (1, 200):
        payment.database.statements = 0
        await desk.handle(*(reserved() for _ in range(size)))
        counts.append(payment.database.statements)
    assert counts == [2, 2]
    async with desk.open():
        await desk.answers(201)
    assert await desk.ledger() == (201, 0, 0)


async def test_charges_and_cancellations_that_meet_end_without_a_deadlock(
    payment: Service, provider: Service
) -> None:
    """C3: while charges settle, their orders are cancelled; each gets exactly one answer."""
    desk = cashier(payment, provider)
    asks = [reserved() for _ in range(60)]
    cancels = [
        OrderCancelled(order_id=ask.order_id, reason=Reason.CUSTOMER_CANCELLED)
        for ask in reversed(asks)
    ]

    async def cancel(part: list[OrderCancelled]) -> None:
        async with payment.unit() as unit:
            await desk.handler.handle(unit, [received(event) for event in part])

    async with desk.open():
        await desk.handle(*asks)
        await asyncio.gather(*(cancel(cancels[place::4]) for place in range(4)))
        events = await desk.answers(60)
    assert {event.order_id for event in events} == {ask.order_id for ask in asks}
    assert len(events) == 60
    captured = sum(isinstance(event, PaymentSucceeded) for event in events)
    assert await desk.ledger() == (captured, 0, 0)


async def test_the_ledger_keeps_the_first_answer_to_a_key(provider: Service) -> None:
    """P6: concurrent and repeated charges with one key capture once; another amount is refused."""
    ledger = Ledger(provider.database, now=lambda: NOW, new_id=new_id)
    charge = Charge("k-1", new_id(), Decimal("20.00"), "EUR")
    results = await asyncio.gather(*(ledger.charge([(charge, True)] * 2) for _ in range(5)))
    (answer,) = {answer for batch in results for answer in batch}
    assert isinstance(answer, Delivered)
    assert await ledger.charge([(charge, False)]) == [answer], "the first answer stands"
    dearer = Charge("k-1", charge.order_id, Decimal("21.00"), "EUR")
    (refused,) = await ledger.charge([(dearer, True)])
    assert isinstance(refused, Refused)
    assert await ledger.charged("k-1", charge.amount, "EUR") == answer
    assert await ledger.charged("k-2", charge.amount, "EUR") == NotFound()
    assert await provider.rows(LEDGER) == [(1, 0, 0)]


async def test_a_refund_is_at_most_the_capture_and_once(provider: Service) -> None:
    """I39: of nothing captured, too much, or twice under another key: refused."""
    ledger = Ledger(provider.database, now=lambda: NOW, new_id=new_id)
    amount = Decimal("20.00")
    await ledger.charge(
        [
            (Charge("good", new_id(), amount, "EUR"), True),
            (Charge("bad", new_id(), amount, "EUR"), False),
        ]
    )
    answers = await ledger.refund(
        [
            Refund("r-1", "bad", amount, "EUR"),
            Refund("r-2", "good", Decimal("20.01"), "EUR"),
            Refund("r-3", "good", amount, "USD"),
            Refund("r-4", "none", amount, "EUR"),
            Refund("r-5", "good", amount, "EUR"),
        ]
    )
    assert [type(answer) for answer in answers] == [Refused] * 4 + [Delivered]
    assert await ledger.refund([Refund("r-5", "good", amount, "EUR")]) == [answers[-1]]
    (again,) = await ledger.refund([Refund("r-6", "good", amount, "EUR")])
    assert isinstance(again, Refused)
    assert await ledger.refunded("r-5", amount, "EUR") == answers[-1]
    assert await ledger.refunded("r-6", amount, "EUR") == NotFound()
    assert await provider.rows(LEDGER) == [(1, 1, 1)]


def test_the_simulators_settings_are_checked_at_start() -> None:
    """A setting that means nothing is refused, not ignored."""
    for wrong in (
        {"success_rate": 1.1},
        {"success_rate": -0.1},
        {"force_outcome": "sucess"},
        {"delay_seconds": -1.0},
    ):
        settings: dict[str, Any] = wrong
        with pytest.raises(ConfigurationError):
            SimulatorSettings(**settings)

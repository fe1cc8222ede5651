"""The order's process on a real database: facts in any order, cancel against confirm, deadlines."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.commerce.support import KEYBOARD, MOUSE, NOW, Service, lines, received
from tests.commerce.test_orders_intake import place, request

from waybill.blueprints import choreography
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
from waybill.commerce.orders.api import NotCancellable
from waybill.commerce.orders.cancellation import Cancellation
from waybill.commerce.orders.deadlines import Deadlines
from waybill.commerce.orders.handlers import OrderHandler
from waybill.commerce.orders.intake import OrderFlush
from waybill.commerce.orders.reads import OrderPages
from waybill.commerce.orders.views import OrderView
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from waybill.commerce.contracts import Event

STATES = "SELECT status, version, settled_at IS NOT NULL FROM app.orders ORDER BY id"

BROKEN_TIMELINES = """
SELECT t.order_id FROM (
    SELECT order_id, seq, from_status, to_status, at,
           row_number() OVER w AS place, lag(coalesce(to_status, from_status)) OVER w AS was,
           lag(at) OVER w AS earlier
    FROM app.order_timeline WINDOW w AS (PARTITION BY order_id ORDER BY seq)
) t
WHERE t.seq <> t.place OR t.from_status IS DISTINCT FROM t.was OR t.at < t.earlier
UNION ALL
SELECT o.id FROM app.orders o
WHERE o.status <> (SELECT t.to_status FROM app.order_timeline t
                   WHERE t.order_id = o.id AND t.to_status IS NOT NULL
                   ORDER BY seq DESC LIMIT 1)
   OR o.timeline_seq <> (SELECT count(*) FROM app.order_timeline t WHERE t.order_id = o.id)
"""
"""I06 and I08: rows are violations."""

VERSION_GAPS = """
SELECT aggregateid FROM (
    SELECT aggregateid, aggregate_version,
           row_number() OVER (PARTITION BY aggregateid ORDER BY seq) AS place
    FROM messaging.outbox
) v WHERE aggregate_version <> place
"""
"""I19: rows are violations."""

CORRELATED = """
SELECT aggregateid, correlation_id FROM messaging.outbox WHERE seq > $1 AND seq <= $2
"""

DURATION = "saga_duration_seconds{outcome=completed}"

WAITING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
WAITING_ON_MARIADB = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"


@pytest.fixture
def handler(order: Service) -> OrderHandler:
    """The handler under test."""
    return OrderHandler(choreography.PROCESS, order.tally, store=order.stores.orders)


@pytest.fixture
def flush(order: Service) -> OrderFlush:
    """Places orders."""
    return OrderFlush(
        order.ports,
        process=choreography.PROCESS,
        deadline=timedelta(minutes=15),
        counters=order.tally,
        store=order.stores.orders,
    )


async def placed(order: Service, flush: OrderFlush, count: int = 1) -> list[OrderCreated]:
    """Place orders of two lines; their events."""
    items = lines((MOUSE, 2, "29.99"), (KEYBOARD, 1, "10"))
    seen = await order.last_seq()
    await place(flush, *(request(f"{seen}-{number}", *items) for number in range(count)))
    events: list[Any] = await order.published(after=seen)
    return events


def reserved(ask: OrderCreated) -> StockReserved:
    """Inventory's yes."""
    return StockReserved(
        order_id=ask.order_id, items=ask.items, total_amount=ask.total_amount, currency="EUR"
    )


def paid(ask: OrderCreated) -> PaymentSucceeded:
    """Payment's yes."""
    return PaymentSucceeded(order_id=ask.order_id, payment_id=new_id(), amount=ask.total_amount)


def unpaid(ask: OrderCreated, reason: Reason = Reason.PAYMENT_REFUSED) -> PaymentFailed:
    """Payment's no."""
    return PaymentFailed(order_id=ask.order_id, reason=reason, detail="Declined")


def names(events: list[Event]) -> list[str]:
    """The types of events."""
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("facts_order", list(permutations(range(2))))
async def test_an_order_is_confirmed_once_whatever_fact_comes_first(
    order: Service,
    handler: OrderHandler,
    flush: OrderFlush,
    facts_order: tuple[int, ...],
    together: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    """D1: a payment that overtakes its stock is kept; the order ends CONFIRMED all the same."""
    (ask,) = await placed(order, flush)
    facts: list[Event] = [(reserved(ask), paid(ask))[place] for place in facts_order]
    batches = [[*facts, facts[0]]] if together else [[fact] for fact in (*facts, facts[0])]
    answers: list[Event] = []
    for batch in batches:
        answers += await order.handle(handler, batch)
    assert answers == [OrderConfirmed(order_id=ask.order_id)]
    assert await order.rows(STATES) == [("CONFIRMED", 2, True)]
    steps = await order.rows(
        "SELECT to_status FROM app.order_timeline WHERE to_status IS NOT NULL ORDER BY seq"
    )
    assert steps == [("PENDING",), ("STOCK_RESERVED",), ("CONFIRMED",)], "every edge (C40)"
    assert await order.rows(BROKEN_TIMELINES) == []
    assert order.tally.counts["orders_confirmed_total"] == 1
    assert [seconds >= 0 for seconds in order.tally.seconds[DURATION]] == [True]


async def test_a_refused_payment_cancels_and_releases(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """R156: OrderCancelled, then the undo of what was done; settled when that is answered (M5)."""
    (ask,) = await placed(order, flush)
    answers = await order.handle(handler, [reserved(ask), unpaid(ask)])
    assert answers == [
        OrderCancelled(order_id=ask.order_id, reason=Reason.PAYMENT_REFUSED, detail="Declined"),
        StockReleaseRequested(order_id=ask.order_id, items=ask.items),
    ]
    assert await order.rows(STATES) == [("CANCELLED", 3, False)]
    assert await order.handle(handler, [StockReleased(order_id=ask.order_id)]) == []
    assert await order.rows(STATES) == [("CANCELLED", 3, True)]
    assert await order.rows(BROKEN_TIMELINES) == []
    assert await order.rows(VERSION_GAPS) == []


async def test_refused_stock_cancels_and_is_settled_at_once(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """R157: nothing was done, so there is nothing to undo."""
    (ask,) = await placed(order, flush)
    refused = StockRejected(
        order_id=ask.order_id, reason=Reason.STOCK_UNAVAILABLE, detail="Insufficient stock"
    )
    assert names(await order.handle(handler, [refused])) == ["OrderCancelled"]
    assert await order.rows(STATES) == [("CANCELLED", 2, True)]


async def test_a_step_that_turns_out_done_after_the_cancel_is_undone(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """M1: cancelled while the payment was under way: the money goes back, the stock as well."""
    (ask,) = await placed(order, flush)
    await order.handle(handler, [reserved(ask)])
    cancellation = Cancellation(order.ports, handler)
    seen = await order.last_seq()
    shown = await cancellation.cancel(ask.order_id, traceparent="00-a-b-01")
    assert isinstance(shown, OrderView)
    assert shown.status == "CANCELLED"
    assert await cancellation.cancel(ask.order_id, traceparent="00-a-b-01") == shown
    assert names(await order.published(after=seen)) == ["OrderCancelled", "StockReleaseRequested"]
    payment = paid(ask)
    (refund,) = await order.handle(handler, [payment])
    assert refund == RefundRequested(
        order_id=ask.order_id,
        amount=ask.total_amount,
        reason=Reason.CUSTOMER_CANCELLED,
        payment_id=payment.payment_id,
    )
    refunded = PaymentRefunded(
        order_id=ask.order_id,
        payment_id=payment.payment_id,
        amount=ask.total_amount,
        refund_id=new_id(),
    )
    await order.handle(handler, [refunded, StockReleased(order_id=ask.order_id)])
    assert await order.rows(STATES) == [("CANCELLED", 4, True)]
    assert await order.rows(BROKEN_TIMELINES) == []


async def test_a_confirmed_order_cannot_be_cancelled(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """C33: after CONFIRMED the answer is a refusal; an unknown order is not found."""
    (ask,) = await placed(order, flush)
    await order.handle(handler, [reserved(ask), paid(ask)])
    cancellation = Cancellation(order.ports, handler)
    refused = await cancellation.cancel(ask.order_id, traceparent="00-a-b-01")
    assert refused == NotCancellable("CONFIRMED")
    assert await cancellation.cancel(new_id(), traceparent="00-a-b-01") is None
    assert await order.rows(STATES) == [("CONFIRMED", 2, True)]


async def test_of_cancel_and_confirm_exactly_one_wins(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """P8: many races end each with one final event, and the answer to the customer agrees."""
    asks = await placed(order, flush, 20)
    await order.handle(handler, [reserved(ask) for ask in asks])
    cancellation = Cancellation(order.ports, handler)
    seen = await order.last_seq()

    async def confirm(part: list[OrderCreated]) -> None:
        async with order.unit() as unit:
            await handler.handle(unit, [received(paid(ask)) for ask in part])

    answers = await asyncio.gather(
        *(cancellation.cancel(ask.order_id, traceparent="00-a-b-01") for ask in asks),
        *(confirm([ask]) for ask in asks[::-1]),
    )
    finals = await order.published(after=seen)
    ended = {
        event.order_id: type(event)
        for event in finals
        if isinstance(event, OrderConfirmed | OrderCancelled)
    }
    assert len(ended) == len(asks)
    assert names(finals).count("OrderConfirmed") + names(finals).count("OrderCancelled") == 20
    for ask, answer in zip(asks, answers, strict=False):
        won = isinstance(answer, OrderView)
        assert ended[ask.order_id] is (OrderCancelled if won else OrderConfirmed)
    refunds = {event.order_id for event in finals if isinstance(event, RefundRequested)}
    assert refunds == {id_ for id_, kind in ended.items() if kind is OrderCancelled}
    assert await order.rows(BROKEN_TIMELINES) == []
    assert await order.rows(VERSION_GAPS) == []


async def test_concurrent_batches_lock_their_orders_in_one_order(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """C2, C3: batches that name the same orders in opposite orders wait, and lose no fact."""
    asks = await placed(order, flush, 30)

    async def fold(facts: list[Event]) -> None:
        async with order.unit() as unit:
            await handler.handle(unit, [received(fact) for fact in facts])

    await asyncio.gather(
        fold([reserved(ask) for ask in asks]), fold([paid(ask) for ask in reversed(asks)])
    )
    assert set(await order.rows(STATES)) == {("CONFIRMED", 2, True)}
    assert await order.rows(BROKEN_TIMELINES) == []


async def test_c2_a_unit_that_waited_for_an_order_sees_what_it_waited_for(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """C2: lock, then load: a fact that another unit folded meanwhile is not overwritten."""
    (ask,) = await placed(order, flush)

    async def pay() -> None:
        async with order.unit() as unit:
            await handler.handle(unit, [received(paid(ask))])

    async with order.unit() as unit:
        await handler.handle(unit, [received(reserved(ask))])
        paying = asyncio.create_task(pay())
        async with asyncio.timeout(30.0):
            while True:
                if await order.rows(WAITING_ON_MARIADB if order.is_mysql else WAITING):
                    break
                # MariaDB looks anew only if nobody has asked for a tenth of a second.
                await asyncio.sleep(0.2 if order.is_mysql else 0.01)
    await paying
    assert await order.rows(STATES) == [("CONFIRMED", 2, True)]
    assert await order.rows(BROKEN_TIMELINES) == []


async def test_facts_about_lost_orders_stop_no_other(
    order: Service, handler: OrderHandler, flush: OrderFlush, caplog: pytest.LogCaptureFixture
) -> None:
    """However many a restore left without their order, the facts of the others are applied."""
    (ask,) = await placed(order, flush, 1)
    lost = [StockReleased(order_id=new_id()) for _ in range(20)]
    await order.handle(handler, [*lost, reserved(ask), paid(ask)])
    assert await order.rows(STATES) == [("CONFIRMED", 2, True)]
    assert "20 facts name orders that are not here" in caplog.text


async def test_a_batch_of_200_takes_as_many_statements_as_a_batch_of_one(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """Statements a batch are a constant: lock and load, save."""
    counts = []
    for size in (1, 200):
        asks = await placed(order, flush, size)
        order.database.statements = 0
        await order.handle(handler, [reserved(ask) for ask in asks])
        counts.append(order.database.statements)
        await order.handle(handler, [paid(ask) for ask in asks])
    assert counts == [2, 2]
    assert set(await order.rows(STATES)) == {("CONFIRMED", 2, True)}


async def test_the_deadline_asks_until_it_is_answered_and_never_concludes(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """M3: what is unanswered goes out again, with the same not_after; only answers end an order."""
    asks = await placed(order, flush, 5)
    await order.handle(handler, [reserved(asks[0]), paid(asks[0])])
    deadlines = Deadlines(
        order.ports, process=choreography.PROCESS, page=2, store=order.stores.orders
    )
    assert await deadlines.ask() == 0, "nobody is asked before the deadline"
    order.clock.instant += timedelta(minutes=16)
    seen = await order.last_seq()
    assert await deadlines.ask() == 4
    questions = await order.published(after=seen)
    assert sorted(questions, key=lambda event: event.order_id) == asks[1:]
    assert await order.rows(
        "SELECT DISTINCT status, asks FROM app.orders WHERE settled_at IS NULL"
    ) == [("PENDING", 1)]
    order.clock.instant += timedelta(seconds=61)
    assert await deadlines.ask() == 4, "the backoff's cap is a minute"
    late = [
        StockRejected(order_id=ask.order_id, reason=Reason.DEADLINE, detail="Too late")
        for ask in asks[1:]
    ]
    await order.handle(handler, late)
    order.clock.instant += timedelta(minutes=2)
    assert await deadlines.ask() == 0
    reasons = await order.rows("SELECT DISTINCT reason FROM app.orders WHERE status = 'CANCELLED'")
    assert reasons == [("deadline",)]
    assert await order.rows(VERSION_GAPS) == []


async def test_what_no_message_leads_to_keeps_the_clients_correlation_id(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """R074: a deadline's question and a cancel, whose own id comes first; else the order's own."""
    named = [
        msgspec.structs.replace(request(key), correlation_id="shop-4711") for key in ("a", "b")
    ]
    await place(flush, *named, request("c"))
    asks: list[OrderCreated] = await order.published()
    await order.handle(handler, [reserved(ask) for ask in asks])
    ids = [ask.order_id for ask in asks]
    cancellation = Cancellation(order.ports, handler)
    for order_id, own in zip(ids, (None, "cart-7", None), strict=True):
        await cancellation.cancel(order_id, traceparent="", correlation_id=own)
    before = await order.last_seq()
    order.clock.instant += timedelta(minutes=16)
    await Deadlines(order.ports, process=choreography.PROCESS, store=order.stores.orders).ask()

    async def told(low: int, high: int) -> list[set[str]]:
        rows = await order.rows(CORRELATED, low, high)
        return [{name for key, name in rows if key == str(each)} for each in ids]

    assert await told(0, before) == [{"shop-4711"}, {"shop-4711", "cart-7"}, {str(ids[2])}]
    asked = await told(before, await order.last_seq())
    assert asked == [{"shop-4711"}, {"shop-4711"}, {str(ids[2])}]


async def test_two_deadline_jobs_do_not_ask_about_one_order_twice(
    order: Service, flush: OrderFlush
) -> None:
    """C14: rows that another process holds are skipped."""
    await placed(order, flush, 30)
    order.clock.instant += timedelta(minutes=16)
    jobs = [
        Deadlines(order.ports, process=choreography.PROCESS, page=5, store=order.stores.orders)
        for _ in range(3)
    ]
    order.clock.instant += timedelta(microseconds=1)
    seen = await order.last_seq()
    await asyncio.gather(*(job.ask() for job in jobs))
    questions = await order.published(after=seen)
    assert len(questions) == len({event.order_id for event in questions}) == 30


async def test_a_failed_order_stays_armed_until_its_undo_is_answered(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """M5: a release that nobody answered is asked for again after the deadline."""
    (ask,) = await placed(order, flush)
    await order.handle(handler, [reserved(ask), unpaid(ask)])
    deadlines = Deadlines(order.ports, process=choreography.PROCESS, store=order.stores.orders)
    order.clock.instant += timedelta(minutes=16)
    seen = await order.last_seq()
    assert await deadlines.ask() == 1
    assert names(await order.published(after=seen)) == ["StockReleaseRequested"]
    await order.handle(handler, [StockReleased(order_id=ask.order_id)])
    order.clock.instant += timedelta(minutes=16)
    assert await deadlines.ask() == 0


async def test_the_timeline_shows_what_happened(
    order: Service, handler: OrderHandler, flush: OrderFlush
) -> None:
    """Each entry names its event; facts that changed no status are kept too."""
    (ask,) = await placed(order, flush)
    facts = [
        received(reserved(ask)),
        received(unpaid(ask)),
        received(StockReleased(order_id=ask.order_id)),
    ]
    async with order.unit() as unit:
        await handler.handle(unit, facts)
    entries = (
        await OrderPages(order.database, choreography.PROCESS, store=order.stores.orders).timeline(
            ask.order_id
        )
        or ()
    )
    assert [(entry.event, entry.to_status, entry.message_id) for entry in entries] == [
        ("OrderCreated", "PENDING", None),
        ("StockReserved", "STOCK_RESERVED", facts[0].message.id),
        ("PaymentFailed", "CANCELLED", facts[1].message.id),
        ("StockReleased", None, facts[2].message.id),
    ]
    assert [entry.at for entry in entries] == [NOW] * 4
    assert entries[2].detail == "Declined"

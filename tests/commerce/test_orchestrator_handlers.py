"""The orchestrator on PostgreSQL: sagas, their steps and what they tell, whatever comes first."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.commerce.support import NOW, received

from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.blueprints.orchestration_events import OrderCreated, PaymentSucceeded
from waybill.blueprints.orchestration_process import PROCESS
from waybill.commerce.contracts import (
    Event,
    OrderCancelled,
    OrderCancelRequested,
    PaymentRefunded,
    Reason,
    RefundRequested,
    StockRejected,
    StockReserved,
)
from waybill.commerce.orchestrator.api import SagaPages
from waybill.commerce.orchestrator.handlers import OrchestratorHandler, SagaDeadlines
from waybill.commerce.sku import SkuLine, made_id, product_of
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.commerce.support import Service

assert ORCHESTRATION.orchestrator is not None
ORCHESTRATOR = ORCHESTRATION.orchestrator
LINE = SkuLine(product_of("SKU-1") or new_id(), 2, Decimal(1200), "SKU-1")


@pytest.fixture
def handler() -> OrchestratorHandler:
    """The handler under test."""
    return OrchestratorHandler(PROCESS, ORCHESTRATOR)


def created() -> OrderCreated:
    """An order of two pieces."""
    return OrderCreated(
        order_id=new_id(),
        customer_id=made_id("user", "usr_1"),
        user_id="usr_1",
        items=(LINE,),
        total_amount=Decimal(2400),
        currency="LKR",
        not_after=NOW + timedelta(minutes=15),
    )


def paid(order: OrderCreated) -> PaymentSucceeded:
    """What payment answers."""
    return PaymentSucceeded(
        order_id=order.order_id,
        payment_id=made_id("payment", str(order.order_id)),
        amount=order.total_amount,
        currency="LKR",
        items=order.items,
    )


def reserved(order: OrderCreated) -> StockReserved:
    """What inventory answers."""
    return StockReserved(
        order_id=order.order_id, items=order.items, total_amount=Decimal(0), currency="XXX"
    )


def names(events: Iterable[Event]) -> list[str]:
    """The events' names."""
    return [type(event).__name__ for event in events]


async def test_an_order_is_taken_paid_and_completed(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """The order service is told of each status, everybody of the end; the steps say why."""
    order = created()
    assert names(await orchestrator.handle(handler, [order])) == ["OrderProcessing"]
    assert names(await orchestrator.handle(handler, [paid(order)])) == ["OrderPaid"]
    (ending,) = await orchestrator.handle(handler, [reserved(order)])
    assert names([ending]) == ["OrderConfirmed"]
    saga = await SagaPages(orchestrator.database).saga(order.order_id)
    assert saga is not None
    assert (saga.status, saga.settled_at) == ("CONFIRMED", NOW)
    assert [(step.event, step.to_status) for step in saga.steps] == [
        ("OrderCreated", "PROCESSING"),
        ("PaymentSucceeded", "PAID"),
        ("StockReserved", "CONFIRMED"),
    ]
    versions = await orchestrator.rows(
        "SELECT aggregate_version FROM messaging.outbox ORDER BY seq"
    )
    assert versions == [(1,), (2,), (3,)], "aggregate versions are gapless (I19)"


async def test_answers_that_come_before_their_order_are_kept(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """Topics overtake one another: nothing is told, and nothing lost, until the order is there."""
    order = created()
    assert await orchestrator.handle(handler, [reserved(order), paid(order)]) == []
    told = await orchestrator.handle(handler, [order])
    assert names(told) == ["OrderProcessing", "OrderPaid", "OrderConfirmed"]


async def test_two_first_facts_in_two_processes_make_one_saga(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """C2: the second waits for the first one's commit, and finds what it left."""
    for _ in range(5):
        order = created()
        await asyncio.gather(
            orchestrator.handle(handler, [order]),
            orchestrator.handle(handler, [paid(order)]),
            orchestrator.handle(handler, [reserved(order)]),
        )
        saga = await SagaPages(orchestrator.database).saga(order.order_id)
        assert saga is not None
        assert saga.status == "CONFIRMED"
        ends = await orchestrator.rows(
            "SELECT count(*) FROM messaging.outbox WHERE type = 'OrderCompleted' "
            "AND aggregateid = $1",
            str(order.order_id),
        )
        assert ends == [(1,)]


async def test_an_order_without_stock_gets_its_money_back(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """The end is told, and the payment that is to be refunded; it is settled by the answer."""
    order = created()
    await orchestrator.handle(handler, [order, paid(order)])
    rejected = StockRejected(order_id=order.order_id, reason=Reason.STOCK_UNAVAILABLE)
    completed, refund = await orchestrator.handle(handler, [rejected])
    assert isinstance(completed, OrderCancelled)
    assert isinstance(refund, RefundRequested)
    assert (refund.payment_id, refund.amount) == (paid(order).payment_id, Decimal(2400))
    pages = SagaPages(orchestrator.database)
    open_saga = await pages.saga(order.order_id)
    assert open_saga is not None
    assert open_saga.settled_at is None
    refunded = PaymentRefunded(
        order_id=order.order_id,
        payment_id=paid(order).payment_id,
        amount=Decimal(2400),
        refund_id=new_id(),
    )
    assert await orchestrator.handle(handler, [refunded]) == []
    settled = await pages.saga(order.order_id)
    assert settled is not None
    assert settled.settled_at == NOW


async def test_inventorys_refusal_may_overtake_the_payment_that_asked_it(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """The order fails for want of stock, and its payment is refunded once it is heard of."""
    order = created()
    await orchestrator.handle(handler, [order])
    rejected = StockRejected(order_id=order.order_id, reason=Reason.STOCK_UNAVAILABLE)
    (completed,) = await orchestrator.handle(handler, [rejected])
    assert isinstance(completed, OrderCancelled)
    assert completed.reason == Reason.STOCK_UNAVAILABLE
    saga = await SagaPages(orchestrator.database).saga(order.order_id)
    assert saga is not None
    assert [(step.from_status, step.to_status) for step in saga.steps[1:]] == [
        ("PROCESSING", "FAILED")
    ]
    assert names(await orchestrator.handle(handler, [paid(order)])) == ["RefundRequested"]


async def test_a_wish_ends_an_order_that_is_open_and_no_other(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """M8: the orchestrator decides; what was confirmed before stays so."""
    open_order, confirmed = created(), created()
    await orchestrator.handle(handler, [open_order, confirmed, paid(confirmed)])
    await orchestrator.handle(handler, [reserved(confirmed)])
    told = await orchestrator.handle(
        handler,
        [
            OrderCancelRequested(order_id=open_order.order_id),
            OrderCancelRequested(order_id=confirmed.order_id),
        ],
    )
    (ending,) = told
    assert isinstance(ending, OrderCancelled)
    assert ending.order_id == open_order.order_id
    assert ending.reason == Reason.CUSTOMER_CANCELLED


async def test_the_deadline_asks_until_it_is_answered(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """M3: the order goes out again as it was, under a new id; an unheard one is not asked about."""
    order, unheard = created(), created()
    await orchestrator.handle(handler, [order, paid(unheard)])
    deadlines = SagaDeadlines(
        orchestrator.ports, process=PROCESS, orchestration=ORCHESTRATOR, page=2
    )
    assert await deadlines.ask() == 0, "nobody is asked before the deadline"
    orchestrator.clock.instant += timedelta(minutes=16)
    seen = await orchestrator.last_seq()
    assert await deadlines.ask() == 1
    assert await orchestrator.published(after=seen) == [order]
    orchestrator.clock.instant += timedelta(seconds=61)
    assert await deadlines.ask() == 1, "the backoff's cap is a minute"
    start = orchestrator.clock.instant
    for questions in range(100):  # noqa: B007 - their number
        ((next_at,),) = await orchestrator.rows(
            "SELECT ask_at FROM app.sagas WHERE order_id = $1", order.order_id
        )
        if next_at > start + timedelta(hours=8):
            break
        orchestrator.clock.instant = next_at
        assert await deadlines.ask() == 1
    assert questions < 60, "the longer somebody is away, the more rarely"


async def test_the_deadlines_question_keeps_the_orders_correlation_id(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """R232: nothing led to it but the order, which its client called something; else its id."""
    named, unnamed = created(), created()
    message = msgspec.structs.replace(received(named).message, correlation_id="shop-4711")
    async with orchestrator.unit() as unit:
        await handler.handle(unit, [Received(message, named), received(unnamed)])
    await orchestrator.handle(handler, [paid(named), paid(unnamed)])
    orchestrator.clock.instant += timedelta(minutes=16)
    seen = await orchestrator.last_seq()
    deadlines = SagaDeadlines(orchestrator.ports, process=PROCESS, orchestration=ORCHESTRATOR)
    assert await deadlines.ask() == 2
    asked = "SELECT aggregateid, correlation_id FROM messaging.outbox WHERE seq > $1"
    assert dict(await orchestrator.rows(asked, seen)) == {
        str(named.order_id): "shop-4711",
        str(unnamed.order_id): str(unnamed.order_id),
    }


async def test_an_order_that_is_told_again_has_its_progress_told_again(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """M8's backstop: an order service that lost what it was told asks so; an end is told once."""
    order = created()
    await orchestrator.handle(handler, [order, paid(order), reserved(order)])
    assert names(await orchestrator.handle(handler, [order])) == ["OrderProcessing", "OrderPaid"]


async def test_a_batch_costs_as_many_statements_as_one_message(
    orchestrator: Service, handler: OrchestratorHandler
) -> None:
    """Two to make and lock, one to save."""
    await orchestrator.handle(handler, [created()])
    before = orchestrator.database.statements
    await orchestrator.handle(handler, [created()])
    one = orchestrator.database.statements - before
    await orchestrator.handle(handler, [created() for _ in range(50)])
    assert orchestrator.database.statements - before == 2 * one

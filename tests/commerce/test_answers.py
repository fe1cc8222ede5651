"""What a key was answered with is decided once, by whoever comes first (protocol M9)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.commerce.support import MOUSE, NOW

from waybill.blueprints.checkout import PROCESS
from waybill.commerce.contracts import Line
from waybill.commerce.orders import answers, domain, store
from waybill.commerce.orders.answers import Answer
from waybill.commerce.orders.store import Key, KeyRecord
from waybill.commerce.waiting import Waiting
from waybill.messaging.core.identity import new_id
from waybill.messaging.runtime.clock import SystemClock

if TYPE_CHECKING:
    from uuid import UUID

    from tests.commerce.support import Service

PAID = Answer(201, b"paid")


async def placed(order: Service) -> UUID:
    """An order whose answer is not decided."""
    command = domain.PlaceOrder(new_id(), (Line(MOUSE, 1, Decimal(1)),), "EUR")
    made, entry, _ = domain.place(
        PROCESS, command, new_id(), now=NOW, deadline=timedelta(minutes=15)
    )
    record = KeyRecord(Key("", "POST", str(made.id)), made.id, "hash", b"pending")
    async with order.unit() as unit:
        await store.place(unit.transaction, [(made, record)], entry)
    return made.id


async def decided(order: Service, order_id: UUID, answer: Answer) -> None:
    """The payment's outcome is there."""
    async with order.unit() as unit:
        await store.lock(unit.transaction, [order_id])
        await answers.decide(unit.transaction, [(order_id, answer)])


async def test_an_outcome_in_time_is_the_answer(order: Service) -> None:
    """And stays it: what is told later changes nothing."""
    order_id = await placed(order)
    await decided(order, order_id, PAID)
    await decided(order, order_id, Answer(402, b"refused"))
    assert await answers.answer_of(order.database, order_id) == PAID


async def test_who_answers_before_it_answers_for_all(order: Service) -> None:
    """202 with the body of the placed order, and 202 again when the payment is known."""
    order_id = await placed(order)
    before = await answers.answer_of(order.database, order_id)
    assert before == Answer(202, b"pending")
    await decided(order, order_id, PAID)
    assert await answers.answer_of(order.database, order_id) == before


async def test_an_order_that_begins_with_a_call_has_told_nothing(order: Service) -> None:
    """Its version counts its events: none yet."""
    order_id = await placed(order)
    assert await order.rows("SELECT version FROM app.orders WHERE id = $1", order_id) == [(0,)]


async def test_who_waits_is_told_and_who_comes_late_does_not_wait() -> None:
    """And what nobody expects is not waited for; beyond the limit the oldest is forgotten."""
    waiting = Waiting(SystemClock(), keys_max=1)
    waiting.expect("forgotten")
    waiting.expect("order")
    waiting.tell(["order", "another"])
    assert await waiting.until_told("order", 30)
    assert not await waiting.until_told("order", 30)
    assert not await waiting.until_told("forgotten", 30)

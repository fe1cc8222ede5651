"""What a key was answered with is decided once: by the payment, or the first request (M9)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.commerce.support import MOUSE, NOW
from tests.commerce.test_orders_intake import request

from waybill.blueprints.checkout import PROCESS
from waybill.commerce.contracts import Line
from waybill.commerce.orders import answers, domain, store
from waybill.commerce.orders.answers import Answer
from waybill.commerce.orders.intake import OrderFlush, OrderIntake
from waybill.commerce.orders.paying import PayingIntake
from waybill.commerce.orders.request import Placed
from waybill.commerce.orders.store import Key, KeyRecord
from waybill.commerce.waiting import Waiting
from waybill.messaging.core.identity import new_id
from waybill.messaging.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from tests.commerce.support import Service

    from waybill.messaging.core.unit import UnitOfWork

PAID = Answer(201, b"paid")
WAIT_SECONDS = 20.0
"""Far longer than any of these tests: who waits in vain is seen."""


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


async def test_a_waiter_who_leaves_takes_nothing_from_the_others() -> None:
    """A cancelled request forgets no key that somebody else waits for."""
    waiting = Waiting(SystemClock())
    waiting.expect("order")
    stays, leaves = (asyncio.create_task(waiting.until_told("order", 30)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    waiting.tell(["order"])
    async with asyncio.timeout(5):
        assert await stays


class OrderProcess:
    """An order service's way of taking orders: its own memory over the shared database."""

    def __init__(self, order: Service) -> None:
        self.waiting = Waiting(SystemClock())
        flush = OrderFlush(
            order.ports,
            process=PROCESS,
            deadline=timedelta(minutes=15),
            counters=order.tally,
            begin=self._begin,
        )
        self.orders = OrderIntake(flush, order.ports)
        self.paying = PayingIntake(
            self.orders,
            order.ports,
            waiting=self.waiting,
            wait_seconds=WAIT_SECONDS,
            rejects=lambda: False,
        )
        self.begun: asyncio.Queue[UUID] = asyncio.Queue()

    async def _begin(self, unit: UnitOfWork, new: Sequence[tuple[domain.Order, str]]) -> None:
        for made, _ in new:
            self.waiting.expect(str(made.id))
            unit.on_commit(partial(self.begun.put_nowait, made.id))


@pytest.fixture
async def processes(order: Service) -> AsyncIterator[tuple[OrderProcess, OrderProcess]]:
    """Two processes over one database: what one keeps in memory the other cannot see."""
    both = OrderProcess(order), OrderProcess(order)
    loops = [asyncio.create_task(each.orders.loop.run()) for each in both]
    yield both
    for each in both:
        each.orders.loop.stop()
    await asyncio.gather(*loops)


@pytest.mark.parametrize("where", ["same process", "another process"])
async def test_a_replay_meanwhile_is_told_202_and_decides_nothing(
    order: Service, processes: tuple[OrderProcess, OrderProcess], where: str
) -> None:
    """M9, in one process and in two: the first request is told of its payment all the same."""
    first, other = processes
    asked = request("meanwhile")
    placing = asyncio.create_task(first.paying.place(asked))
    order_id = await first.begun.get()
    async with asyncio.timeout(WAIT_SECONDS / 2):
        replay = await (first if where == "same process" else other).paying.place(asked)
        assert isinstance(replay, Placed)
        assert (replay.status, replay.replayed, replay.order_id) == (202, True, order_id)
        assert b'"PENDING"' in replay.body
        await decided(order, order_id, PAID)
        first.waiting.tell([str(order_id)])
        told = await placing
    assert told == Placed(PAID.body, replayed=False, order_id=order_id, status=PAID.status)
    again = await other.paying.place(asked)
    assert again == Placed(PAID.body, replayed=True, order_id=order_id, status=PAID.status)

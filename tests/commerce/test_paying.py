"""Payment inside the request: who waits for the call, for how long, and what they are told (M9)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
import pytest
from tests.commerce.test_orders_intake import request

from waybill.blueprints.checkout import CHECKOUT, PROCESS
from waybill.commerce.orders.handlers import OrderHandler
from waybill.commerce.orders.intake import OrderFlush, OrderIntake
from waybill.commerce.orders.paying import PAYMENT, OrderPayments, PayingIntake, stopping
from waybill.commerce.orders.request import Placed
from waybill.commerce.waiting import Waiting
from waybill.messaging.core.breaker import Breaker, BreakerPolicy, BreakerState
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.deliverer import Deliverer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.commerce.support import Service

    from waybill.messaging.core.outcome import Outcome
    from waybill.messaging.core.ports import Delivery

WAIT_SECONDS = 60.0
"""Far longer than any of these tests: who waits in vain is seen."""
PROBES = 3


class Till:
    """An order service that pays inside its requests, at a payment service that hangs."""

    def __init__(self, order: Service) -> None:
        self.ports = ports = replace(order.ports, codec=CHECKOUT.codec())
        self.called: asyncio.Queue[str] = asyncio.Queue()
        self.answers = asyncio.Event()
        self.breaker = Breaker(
            BreakerPolicy(calls_min=1, half_open_calls=PROBES), random=lambda: 0.0
        )
        waiting = Waiting(SystemClock())
        self.handler = OrderHandler(
            *(PROCESS, order.tally, CHECKOUT.orders.makers), stop=stopping(order.deliveries)
        )
        payments = OrderPayments(
            ports,
            process=PROCESS,
            handler=self.handler,
            contract=CHECKOUT.orders.contract,
            waiting=waiting,
        )
        payments.calls = self.calls = Deliverer(
            PAYMENT,
            ports=ports,
            deliveries=order.deliveries,
            call=self._call,
            settled=payments.settled,
            lock=payments.lock,
            breaker=self.breaker,
            rejected=payments.rejected,
        )
        flush = OrderFlush(
            ports,
            process=PROCESS,
            deadline=timedelta(minutes=15),
            counters=order.tally,
            begin=payments.begin,
        )
        self.orders = OrderIntake(flush, ports)
        self.paying = PayingIntake(
            self.orders,
            ports,
            waiting=waiting,
            wait_seconds=WAIT_SECONDS,
            rejects=lambda: self.breaker.wait_seconds(time.monotonic()) > 0,
        )

    async def _call(self, delivery: Delivery) -> Outcome:
        self.called.put_nowait(delivery.key)
        await self.answers.wait()
        return Delivered(str(new_id()).encode())

    def place(self, key: str) -> asyncio.Task[Placed]:
        """A request on its way."""
        return asyncio.create_task(self._placed(key))

    async def _placed(self, key: str) -> Placed:
        placed = await self.paying.place(request(key))
        assert isinstance(placed, Placed)
        return placed


def status_of(placed: Placed) -> str:
    """The order's, in the body."""
    status: str = msgspec.json.decode(placed.body)["status"]
    return status


@pytest.fixture
async def till(order: Service) -> AsyncIterator[Till]:
    """On a real database."""
    till = Till(order)
    loops = [asyncio.create_task(each.run()) for each in (till.orders.loop, till.calls)]
    yield till
    till.answers.set()
    for task in loops:
        task.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def test_while_a_probe_hangs_nobody_waits_but_whose_probe_it_is(till: Till) -> None:
    """Half open, some calls are made: their customers hear of their payment, all others 202 now.

    Those who came before the permits were taken as well as those after.
    """
    opened = time.monotonic() - BreakerPolicy().open_seconds
    permit = till.breaker.permit(opened)
    assert permit is not None
    till.breaker.record(permit, opened, failed=True, seconds=1.0)
    async with asyncio.timeout(WAIT_SECONDS / 2):
        together = {till.place(f"together-{number}") for number in range(8)}
        for _ in range(PROBES):
            await till.called.get()
        assert till.breaker.state(time.monotonic()) is BreakerState.HALF_OPEN
        turned_away = set(await asyncio.gather(*(till.place(f"late-{n}") for n in range(8))))
        while len(together) > PROBES:
            answered, together = await asyncio.wait(together, return_when=asyncio.FIRST_COMPLETED)
            turned_away |= {each.result() for each in answered}
        assert till.called.empty()
        assert {(each.status, status_of(each)) for each in turned_away} == {(202, "PENDING")}
        till.answers.set()
        paid = await asyncio.gather(*together)
    assert {(each.status, status_of(each)) for each in paid} == {(201, "CONFIRMED")}


async def test_an_order_that_was_cancelled_meanwhile_is_no_202(till: Till) -> None:
    """C31: 202 is PENDING alone. Cancelled before it was paid: 409, for a repeated key too."""
    async with asyncio.timeout(WAIT_SECONDS / 2):
        placing = till.place("cancelled")
        order_id = UUID(await till.called.get())
        async with till.ports.database.transaction() as transaction:
            assert await till.handler.cancel(till.ports.unit(transaction), order_id) is not None
        till.answers.set()
        placed = await placing
        again = await till.place("cancelled")
    told = msgspec.json.decode(placed.body)
    assert (placed.status, told["code"], told["orderId"]) == (
        *(409, "order_cancelled"),
        str(order_id),
    )
    assert (again.status, again.body, again.replayed) == (409, placed.body, True)

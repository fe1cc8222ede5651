"""Confirmations are seen in the outbox: each order once, bracketed between written and seen."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of
from waybill.operations.bench import confirmations as module
from waybill.operations.bench.confirmations import Confirmations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROW = """
INSERT INTO messaging.outbox (
    seq, lane, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id,
    producer, headers, occurred_at
) VALUES (
    nextval('messaging.outbox_seq'), $1, $2, 'Order', $3, $4, '', 1, 'order-events', '', 'order',
    '{}', now()
)
"""


class Orders:
    """Writes the order service's events."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def end(self, order: bytes, kind: str = "OrderConfirmed") -> None:
        """Write the order's event, and one that is not looked for."""
        key = order.decode()
        for each in ("OrderCreated", kind):
            await self._connection.execute(ROW, lane_of(key), new_id(), key, each)


@pytest.fixture
async def orders(messaging_database: str) -> AsyncIterator[Orders]:
    """Events in a database of this test alone."""
    connection = await asyncpg.connect(messaging_database)
    yield Orders(connection)
    await connection.close()


def order() -> bytes:
    """A new order's id, as an answer has it."""
    return str(new_id()).encode()


async def rest(seen: Confirmations) -> None:
    """Until all that was handed in has ended."""
    async with asyncio.timeout(20):
        while seen.pending:  # noqa: ASYNC110 - rows have no event
            await asyncio.sleep(0.002)


async def test_each_order_is_seen_once_with_its_latencies(
    messaging_database: str, orders: Orders
) -> None:
    """Written before seen, both after the intended send; a cancelled order has none."""
    await orders.end(order())  # from before: not looked at
    async with Confirmations(messaging_database, look_seconds=0.002) as seen:
        tally = seen.begin()
        placed = [order() for _ in range(40)]
        intended = time.perf_counter()
        for each in placed:
            seen.accepted(each, intended)
        assert seen.pending == 40
        for each in placed[:35]:
            await orders.end(each)
        for each in placed[35:]:
            await orders.end(each, "OrderCancelled")
        await rest(seen)
        assert (len(tally.seen), len(tally.written), tally.cancelled) == (35, 35, 5)
        assert seen.confirmed == 35
        pairs = list(zip(tally.written, tally.seen, strict=True))
        assert all(0 < written < found for written, found in pairs)
        assert tally.last_written == pytest.approx(intended + max(tally.written))


async def test_an_order_that_ends_before_its_client_knows_it_counts(
    messaging_database: str, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event may overtake the answer; what is kept for that is bounded."""
    monkeypatch.setattr(module, "STRANGERS_MAX", 2)
    first = order()
    others = [each for each in (order() for _ in range(600)) if same_lane(each, first)]
    async with Confirmations(messaging_database, look_seconds=0.002) as seen:
        for each in (*others[:3], first):
            await orders.end(each)
        waker = others[3]
        seen.accepted(waker, time.perf_counter())  # it makes the lane looked at
        await orders.end(waker)
        await rest(seen)
        assert seen.confirmed == 1
        seen.accepted(first, time.perf_counter())
        assert (seen.pending, seen.confirmed) == (0, 2)
        seen.accepted(others[0], time.perf_counter())
        assert seen.pending == 1, "forgotten: more came after it than are kept"


async def test_nobody_is_asked_while_nothing_is_on_its_way(messaging_database: str) -> None:
    """Looking is no load on an idle platform."""
    async with Confirmations(messaging_database, look_seconds=0.001) as seen:
        await asyncio.sleep(0.05)
        assert seen.looks == 0
        assert seen.failure is None


async def test_a_lost_connection_is_told(messaging_database: str, orders: Orders) -> None:
    """It does not wait for ever for what it can no longer see."""
    async with Confirmations(messaging_database, look_seconds=0.002) as seen:
        await orders._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'waybill bench'"
        )
        seen.accepted(order(), time.perf_counter())
        async with asyncio.timeout(20):
            while seen.failure is None:  # noqa: ASYNC110 - a task's end
                await asyncio.sleep(0.002)
        assert isinstance(seen.failure, Exception)


def same_lane(one: bytes, other: bytes) -> bool:
    """Whether two orders are in one lane."""
    return lane_of(one.decode()) == lane_of(other.decode())

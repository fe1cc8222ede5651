"""The intake on a real database: one key is at most one order, whatever comes at once (P5)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.commerce.support import KEYBOARD, MOUSE, NOW, Service, lines

from waybill.blueprints import choreography
from waybill.commerce.contracts import Line, OrderCreated
from waybill.commerce.orders.intake import OrderFlush, OrderIntake
from waybill.commerce.orders.reads import OrderPages
from waybill.commerce.orders.request import KeyReused, Outcome, Placed, PlaceOrder
from waybill.commerce.orders.views import OrderView
from waybill.messaging.core.errors import MessagingError, OverloadedError, PermanentError
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from uuid import UUID

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COUNTS = """
SELECT (SELECT count(*) FROM app.orders), (SELECT count(*) FROM app.idempotency_keys),
       (SELECT count(*) FROM app.order_timeline), (SELECT count(*) FROM messaging.outbox)
"""


@pytest.fixture
def flush(order: Service) -> OrderFlush:
    """The flush under test; orders have fifteen minutes."""
    return OrderFlush(
        order.ports,
        process=choreography.PROCESS,
        deadline=timedelta(minutes=15),
        counters=order.tally,
        store=order.stores.orders,
    )


def request(
    key: str,
    *items: Line,
    fingerprint: str = "a" * 64,
    scope: str = "",
    customer_id: UUID | None = None,
) -> PlaceOrder:
    """A valid request."""
    items = items or lines((MOUSE, 2, "29.99"))
    return PlaceOrder(
        scope=scope,
        route="POST /api/orders",
        key=key,
        fingerprint=fingerprint,
        customer_id=customer_id or new_id(),
        currency="EUR",
        items=items,
        total_amount=sum((line.quantity * line.unit_price for line in items), Decimal(0)),
        traceparent=TRACE,
    )


async def place(flush: OrderFlush, *requests: PlaceOrder) -> list[Outcome | Exception]:
    """Flush these together."""
    return await flush.flush([flush.entry(each) for each in requests])


async def test_an_order_its_key_its_first_entry_and_its_event_commit_together(
    order: Service, flush: OrderFlush
) -> None:
    """P1: what a 201 promises is in the database, and the event carries the request's trace."""
    wanted = request("k-1", *lines((MOUSE, 2, "10"), (KEYBOARD, 1, "29.9")))
    (placed,) = await place(flush, wanted)
    assert isinstance(placed, Placed)
    assert not placed.replayed
    body = msgspec.json.decode(placed.body)
    assert list(body) == [
        *("id", "customerId", "status", "totalAmount", "currency", "items", "createdAt"),
        "updatedAt",
    ]
    assert b'"totalAmount":49.9,' in placed.body, "money is a number in the request's scale"
    assert b'"unitPrice":10}' in placed.body
    assert body["createdAt"] == "2026-11-21T12:00:00Z"
    (event,) = await order.published()
    assert event == OrderCreated(
        order_id=event.order_id,
        customer_id=wanted.customer_id,
        items=wanted.items,
        total_amount=Decimal("49.9"),
        currency="EUR",
        not_after=NOW + timedelta(minutes=15),
    )
    assert await order.rows(COUNTS) == [(1, 1, 1, 1)]
    assert await order.rows(
        "SELECT traceparent, aggregate_version, correlation_id FROM messaging.outbox"
    ) == [(TRACE, 1, str(event.order_id))]
    assert order.tally.counts == {"orders_created_total": 1}


async def test_the_same_key_replays_the_first_body_byte_for_byte(
    order: Service, flush: OrderFlush
) -> None:
    """R045: a later request with the key and payload gets the stored first response."""
    first = request("k-1")
    (placed,) = await place(flush, first)
    order.clock.instant += timedelta(hours=30)
    (again,) = await place(flush, first)
    assert isinstance(placed, Placed)
    assert again == Placed(placed.body, replayed=True, order_id=placed.order_id)
    assert await order.rows(COUNTS) == [(1, 1, 1, 1)]


async def test_another_payload_under_a_used_key_is_refused(
    order: Service, flush: OrderFlush
) -> None:
    """R046: the key belongs to its first payload, and to its own scope."""
    (placed,) = await place(flush, request("k-1"))
    other = request("k-1", fingerprint="b" * 64)
    (refused,) = await place(flush, other)
    assert isinstance(placed, Placed)
    assert isinstance(refused, KeyReused)
    assert str(refused.order_id) in placed.body.decode()
    (foreign,) = await place(flush, request("k-1", fingerprint="b" * 64, scope="someone else"))
    assert isinstance(foreign, Placed)
    assert await order.rows(COUNTS) == [(2, 2, 2, 2)]


async def test_one_flush_sorts_out_new_repeated_and_reused_keys(
    order: Service, flush: OrderFlush
) -> None:
    """I1: in one flush the first of a key leads, its repeats replay, other payloads are refused."""
    (old,) = await place(flush, request("old"))
    results = await place(
        flush,
        request("new"),
        request("old"),
        request("new"),
        request("new", fingerprint="b" * 64),
        request("old", fingerprint="b" * 64),
        request("newer"),
    )
    kinds = [
        (type(result), result.replayed if isinstance(result, Placed) else None)
        for result in results
    ]
    assert kinds == [
        (Placed, False),
        (Placed, True),
        (Placed, True),
        (KeyReused, None),
        (KeyReused, None),
        (Placed, False),
    ]
    assert isinstance(old, Placed)
    assert results[1] == Placed(old.body, replayed=True, order_id=old.order_id)
    assert await order.rows(COUNTS) == [(3, 3, 3, 3)]


async def test_a_flush_that_is_run_again_knows_its_own_commit(
    order: Service, flush: OrderFlush
) -> None:
    """I2: after a COMMIT whose answer was lost, the re-run finds its own id: no replay."""
    entries = [flush.entry(request("k-1")), flush.entry(request("k-2"))]
    first = await flush.flush(entries)
    again = await flush.flush(entries)
    assert again == first
    assert await order.rows(COUNTS) == [(2, 2, 2, 2)]


async def test_concurrent_first_requests_with_one_key_make_one_order(
    order: Service, flush: OrderFlush
) -> None:
    """D14: of ten flushes at once with one key, one places, nine replay the same body."""
    results = await asyncio.gather(*(place(flush, request("k-1")) for _ in range(10)))
    placed = [result for (result,) in results if isinstance(result, Placed)]
    assert len(placed) == 10
    assert sorted(each.replayed for each in placed) == [False] + [True] * 9
    assert len({each.body for each in placed}) == 1
    assert await order.rows(COUNTS) == [(1, 1, 1, 1)]


async def test_flushes_with_their_keys_in_opposite_orders_do_not_deadlock(
    order: Service, flush: OrderFlush
) -> None:
    """C3: keys are claimed in one global order, whatever the order of the requests."""
    keys = [f"k-{number}" for number in range(40)]
    forward = [request(key) for key in keys]
    backward = [request(key) for key in reversed(keys)]
    await asyncio.gather(*(place(flush, *batch) for batch in [forward, backward] * 4))
    assert await order.rows(COUNTS) == [(40, 40, 40, 40)]


async def test_an_order_that_the_tables_refuse_leaves_nothing(
    order: Service, flush: OrderFlush
) -> None:
    """A total beyond NUMERIC(12,2) fails its flush as a whole: group commit isolates it."""
    monster = request("k-2", *lines((MOUSE, 10_000, "9999999999.99")))
    with pytest.raises(MessagingError):
        await place(flush, request("k-1"), monster)
    assert await order.rows(COUNTS) == [(0, 0, 0, 0)]
    assert order.tally.counts == {}


async def test_a_flush_of_200_takes_as_many_statements_as_a_flush_of_one(
    order: Service, flush: OrderFlush
) -> None:
    """Statements a flush are a constant: one, and one more if keys were taken."""
    counts = []
    for size in (1, 200):
        for _ in range(2):
            order.database.statements = 0
            await place(flush, *(request(f"{size}-{number}") for number in range(size)))
            counts.append(order.database.statements)
    # On MariaDB keys that are taken are looked for before the rows go in.
    assert counts == ([2, 2, 2, 2] if order.is_mysql else [1, 2, 1, 2])


async def test_orders_are_listed_newest_first_by_customer_and_status(
    order: Service, flush: OrderFlush
) -> None:
    """A page continues below the last id; filters combine; amounts have two decimals (1.2)."""
    customer = new_id()
    await place(
        flush,
        *(request(f"k-{n}", *lines((MOUSE, 1, "10")), customer_id=customer) for n in range(5)),
        request("other"),
    )
    pages = OrderPages(order.database, choreography.PROCESS, store=order.stores.orders)
    first = await pages.orders(customer_id=customer, status="PENDING", before=None, limit=3)
    rest = await pages.orders(customer_id=customer, status="PENDING", before=first[-1].id, limit=3)
    ids = [view.id for view in (*first, *rest)]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 5
    assert await pages.orders(customer_id=None, status="CONFIRMED", before=None, limit=3) == []
    assert len(await pages.orders(customer_id=None, status=None, before=None, limit=9)) == 6
    shown = await pages.order(first[0].id)
    assert shown == first[0]
    assert isinstance(shown, OrderView)
    assert str(shown.total_amount) == str(shown.items[0].unit_price) == "10.00"
    assert await pages.order(new_id()) is None
    assert await pages.timeline(new_id()) is None
    (entry,) = await pages.timeline(first[0].id) or ()
    assert (entry.sequence, entry.event, entry.from_status, entry.to_status) == (
        *(1, "OrderCreated", None),
        "PENDING",
    )


async def test_group_commit_serves_good_requests_beside_bad_and_repeated_ones(
    order: Service, flush: OrderFlush
) -> None:
    """I1, I3: fifty at once, duplicates and a monster among them: only the monster fails."""
    intake = OrderIntake(flush, order.ports)
    running = asyncio.create_task(intake.loop.run())
    monster = request("monster", *lines((MOUSE, 10_000, "9999999999.99")))
    wanted = [request(f"k-{number % 25}") for number in range(50)]
    wanted.insert(20, monster)
    try:
        intake.admit()
        results = await asyncio.gather(
            *(intake.place(each) for each in wanted), return_exceptions=True
        )
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    failed = [result for result in results if not isinstance(result, Placed)]
    assert [type(result) for result in failed] == [PermanentError]
    assert results.index(failed[0]) == 20
    replayed = [result.replayed for result in results if isinstance(result, Placed)]
    assert sorted(replayed) == [False] * 25 + [True] * 25
    assert await order.rows(COUNTS) == [(25, 25, 25, 25)]


async def test_i5_a_closed_brake_refuses_before_anything_is_read(
    order: Service, flush: OrderFlush
) -> None:
    """Protocol I5: an intake whose events nobody reads is closed, whatever its queue is like."""

    def closed() -> None:
        raise OverloadedError("1001 outbox rows are unread")

    with pytest.raises(OverloadedError, match="unread"):
        OrderIntake(flush, order.ports, brake=closed).admit()
    OrderIntake(flush, order.ports).admit()


async def test_p10_only_what_nothing_else_refuses_uses_the_capacity(
    order: Service, flush: OrderFlush
) -> None:
    """P10: a closed brake costs nothing of the capacity for what comes after it."""
    taken: list[int] = []
    open_now = False

    def brake() -> None:
        if not open_now:
            raise OverloadedError("the disk is full")

    intake = OrderIntake(flush, order.ports, brake=brake, capacity=lambda: taken.append(1))
    with pytest.raises(OverloadedError, match="disk"):
        intake.admit()
    assert taken == []
    open_now = True
    intake.admit()
    assert taken == [1]


async def test_c12_keys_are_one_table_with_one_key(order: Service) -> None:
    """Protocol C12: a key is in its order's own row; no partition of time ends it."""
    if order.is_mysql:
        (described,) = await order.rows("SHOW CREATE TABLE app.orders")
        assert "UNIQUE KEY `orders_key` (`scope`,`route`,`idempotency_key`)" in described[1]
        assert "PARTITION" not in described[1]
        return
    assert await order.rows(
        "SELECT c.relkind::text, pg_get_constraintdef(k.oid) FROM pg_class AS c"
        " JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'u'"
        " WHERE c.oid = 'app.orders'::regclass"
    ) == [("r", "UNIQUE (scope, route, idempotency_key)")]

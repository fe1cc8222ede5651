"""`notify` on a real database: stock and order are one commit, and so are call and status."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.blocking import no_blocking_calls
from tests.commerce.support import Service, eventually
from tests.commerce.test_http_notify import Other

from waybill.blueprints.notify import NOTIFY, PROCESS, NotifyRefused, NotifySucceeded
from waybill.blueprints.notify_wire import NotifyCodec, lines_of
from waybill.commerce.contracts import OrderCreated
from waybill.commerce.http.client import ClientSettings
from waybill.commerce.notifications import http_notify
from waybill.commerce.notifications.http_notify import POLICY, HttpNotifier, persistent
from waybill.commerce.numbers import id_of
from waybill.commerce.orders.deadlines import Deadlines
from waybill.commerce.orders.domain import MAKERS
from waybill.commerce.orders.handlers import OrderHandler
from waybill.commerce.orders.notices import NoticeHandler, NoticesSettled, called
from waybill.commerce.orders.request import KeyReused, NotTaken, Placed, PlaceOrder
from waybill.commerce.orders.stocked_intake import StockedFlush
from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import MessagingError
from waybill.messaging.core.message import Message
from waybill.messaging.core.outbox_row import as_uuid
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.core.retry import Backoff
from waybill.messaging.core.unit import Received
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.platform.notifying import ShopTaker, own_products

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PHONE, LAPTOP, HEADPHONES = 1, 2, 3
COUNTS = """
SELECT (SELECT count(*) FROM app.orders), (SELECT count(*) FROM app.reservations),
       (SELECT count(*) FROM messaging.outbox)
"""
STOCK = "SELECT id, stock FROM notify.product ORDER BY id"
BETWEEN = ("intake.before_commit", "delivery.before_call", "settle.before_commit")
KEYLESS = (f"none {number}" for number in range(10**9))


class Shop:
    """The order service's database, with as many intakes as there are processes."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ports = replace(service.ports, codec=NotifyCodec())

    def intake(self) -> StockedFlush:
        """One process's."""
        assert NOTIFY.orders.stock is not None
        return StockedFlush(
            self.ports,
            process=PROCESS,
            deadline=timedelta(minutes=15),
            counters=self.service.tally,
            makers=MAKERS,
            placed=NOTIFY.orders.contract.placed,
            stock=ShopTaker(NOTIFY.orders.stock, self.service.stores),
            store=self.service.stores.orders,
        )

    async def place(self, *requests: PlaceOrder, intake: StockedFlush | None = None) -> list[Any]:
        """Flush these together."""
        intake = intake or self.intake()
        return await intake.flush([intake.entry(each) for each in requests])

    async def stock(self) -> list[int]:
        """What can be ordered of each product."""
        return [row[1] for row in await self.service.rows(STOCK)]

    async def messages(self) -> list[Received]:
        """What its outbox holds, as its consumer gets it."""
        codec = NotifyCodec()
        statement = self.service.stores.orders.tables("SELECT * FROM messaging.outbox ORDER BY seq")
        rows: Any = await self.service.database.fetch(statement)
        taken = [
            Message(
                id=as_uuid(row["id"]),
                topic=row["topic"],
                type=row["type"],
                key=row["aggregateid"],
                value=row["payload"],
                occurred_at=row["occurred_at"],
                correlation_id=row["correlation_id"],
            )
            for row in rows
        ]
        return [Received(each, codec.decode(each)) for each in taken]


def order_of(*products: int, key: str | None = None) -> PlaceOrder:
    """A valid request."""
    items = lines_of(products)
    return PlaceOrder(
        scope="",
        route="POST /order",
        key=key or next(KEYLESS),
        fingerprint=msgspec.json.encode(products).decode(),
        customer_id=id_of(7),
        currency="EUR",
        items=items,
        total_amount=Decimal(0),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


@pytest.fixture
async def shop(order: Service) -> Shop:
    """With the document's products: 10 phones, 5 laptops, 15 headphones."""
    shop = Shop(order)
    assert NOTIFY.orders.stock is not None
    for _ in range(2):
        await own_products(NOTIFY.orders.stock, shop.ports, order.stores)
    return shop


async def test_an_order_its_stock_and_its_event_commit_together(shop: Shop) -> None:
    """R206, R287: one of each product that is listed; the documented tables show it."""
    (placed,) = await shop.place(order_of(PHONE, LAPTOP, LAPTOP))
    assert isinstance(placed, Placed)
    body = msgspec.json.decode(placed.body)
    assert (body["status"], body["message"]) == ("PLACED", "Order placed successfully")
    assert await shop.stock() == [9, 3, 15]
    assert await shop.service.rows(COUNTS) == [(1, 1, 1)]
    (kept,) = await shop.service.rows(
        "SELECT id, user_id, product_ids, status FROM notify.customer_order"
    )
    order_id, user_id, listed, status = kept
    assert (str(order_id), user_id, status) == (body["orderId"], 7, "PLACED")
    # An array is text on MariaDB.
    assert (json.loads(f"[{listed}]") if isinstance(listed, str) else listed) == [1, 2, 2]
    products = await shop.service.rows("SELECT product_id FROM notify.order_product ORDER BY 1")
    assert products == [(1,), (2,), (2,)]
    (event,) = await shop.service.rows("SELECT event_type, payload FROM notify.outbox_event")
    assert (event[0], json.loads(event[1])["userId"]) == ("ORDER_CREATED", 7)


async def test_what_is_not_there_is_refused_and_nothing_is_stored(shop: Shop) -> None:
    """C32: 404 and 409; those beside them in the same flush get theirs."""
    outcomes = await shop.place(
        order_of(PHONE, 9), order_of(*[LAPTOP] * 6), order_of(PHONE), order_of(HEADPHONES)
    )
    unknown, few, *placed = outcomes
    assert isinstance(unknown, NotTaken)
    assert isinstance(few, NotTaken)
    assert (unknown.status, few.status) == (404, 409)
    assert few.detail == "Insufficient stock for product: Laptop"
    assert all(isinstance(each, Placed) for each in placed)
    assert await shop.stock() == [9, 5, 14]
    assert await shop.service.rows(COUNTS) == [(2, 2, 2)]


async def test_statements_are_by_the_batch(shop: Shop, calls: Calls) -> None:
    """One order or ten: as many statements, in the intake and in the consumer."""

    async def counted(orders: int) -> tuple[int, int]:
        database = shop.service.database
        before = database.statements
        await shop.place(*(order_of(HEADPHONES) for _ in range(orders)))
        placed = database.statements
        await calls.hear()
        return placed - before, database.statements - placed

    await counted(1)  # from now on there are messages that were heard before
    one = await counted(1)
    assert one == await counted(10)
    # On MariaDB the number, the lane's lock and what is owed already are statements of their own.
    most = (7, 3) if shop.service.is_mysql else (6, 1)
    assert all(count <= limit for count, limit in zip(one, most, strict=True))


async def test_the_last_units_are_taken_once(shop: Shop) -> None:
    """PESSIMISTIC_WRITE: from three processes at once, in either order, 5 laptops are 5 orders."""
    intakes = [shop.intake() for _ in range(3)]
    wanted = [order_of(*([LAPTOP, PHONE] if n % 2 else [PHONE, LAPTOP])) for n in range(24)]
    flushes = [
        shop.place(*wanted[start : start + 2], intake=intakes[start % 3])
        for start in range(0, len(wanted), 2)
    ]
    outcomes = [each for found in await asyncio.gather(*flushes) for each in found]
    assert Counter(type(each).__name__ for each in outcomes) == {"Placed": 5, "NotTaken": 19}
    assert await shop.stock() == [5, 0, 15]


async def test_a_replay_takes_no_stock(shop: Shop) -> None:
    """The first answer again; another payload is refused; a refused request leaves its key free."""
    (first,) = await shop.place(order_of(PHONE, key="one"))
    again, other = await shop.place(order_of(PHONE, key="one"), order_of(LAPTOP, key="one"))
    assert isinstance(first, Placed)
    assert again == Placed(first.body, replayed=True, order_id=first.order_id)
    assert isinstance(other, KeyReused)
    (refused,) = await shop.place(order_of(9, key="two"))
    (placed,) = await shop.place(order_of(PHONE, key="two"))
    assert isinstance(refused, NotTaken)
    assert isinstance(placed, Placed)
    assert await shop.stock() == [8, 5, 15]


async def test_one_key_in_two_processes_at_once_takes_stock_once(shop: Shop) -> None:
    """P5: the loser's stock goes back with its transaction, and it finds the winner's answer."""
    for number in range(10):
        key = f"key {number}"
        pair = [shop.place(order_of(HEADPHONES, PHONE, key=key)) for _ in range(2)]
        (one,), (two,) = await asyncio.gather(*pair)
        assert {one.replayed, two.replayed} == {True, False}
        assert one.body == two.body
        other = [shop.place(order_of(LAPTOP, key=key)), shop.place(order_of(PHONE, key=key))]
        assert all(isinstance(each, KeyReused) for (each,) in await asyncio.gather(*other))
    assert await shop.service.rows(COUNTS) == [(10, 10, 10)]
    assert await shop.stock() == [0, 5, 5]


async def test_a_failure_before_the_commit_leaves_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R184: neither stock nor order nor event."""

    async def die(point: str, _who: str) -> None:
        if point == "intake.before_commit":
            raise RuntimeError("killed")

    monkeypatch.setattr(crash_points, "hook", die)
    with pytest.raises(RuntimeError, match="killed"):
        await shop.place(order_of(PHONE))
    assert await shop.service.rows(COUNTS) == [(0, 0, 0)]
    assert await shop.stock() == [10, 5, 15]


class Calls:
    """The order service's calls, in real time, faster than in earnest."""

    def __init__(self, shop: Shop, notifier: HttpNotifier) -> None:
        self.shop = shop
        store = shop.service.stores.orders
        orders = OrderHandler(PROCESS, shop.service.tally, MAKERS, store=store)
        self.folded = NoticesSettled(
            orders, done=NotifySucceeded, refused=NotifyRefused, store=store
        )
        self.deliverer = Deliverer(
            http_notify.NOTIFY,
            ports=shop.ports,
            deliveries=shop.service.deliveries,
            call=persistent(notifier.call),
            settled=self.folded.settled,
            lock=self.folded.lock,
            policy=replace(POLICY, backoff=Backoff(base_seconds=0.02, cap_seconds=0.1)),
        )
        self.handler = NoticeHandler(
            kind=http_notify.NOTIFY, calls=self.deliverer, new_id=shop.ports.new_id
        )

    async def hear(self) -> None:
        """Have the consumer take all that the outbox holds, as one batch."""
        async with self.shop.service.unit() as unit:
            await self.handler.handle(unit, await self.shop.messages())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block runs."""
        task = asyncio.create_task(self.deliverer.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def statuses(self) -> dict[str, int]:
        """How many orders are in which status."""
        rows = await self.shop.service.rows("SELECT status FROM app.orders")
        return Counter(row[0] for row in rows)

    async def notices(self) -> list[str]:
        """What the documented table tells of notifications."""
        rows = await self.shop.service.rows("SELECT status FROM notify.notification ORDER BY 1")
        return [row[0] for row in rows]


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    """The service that is notified."""
    async with Other() as other:
        yield other


@pytest.fixture
async def calls(shop: Shop, other: Other) -> AsyncIterator[Calls]:
    """Impatient."""
    settings = ClientSettings(url=other.url, connect_seconds=0.3, timeout_seconds=0.3)
    notifier = HttpNotifier(settings)
    yield Calls(shop, notifier)
    await notifier.close()


async def test_orders_are_notified_without_blocking_the_loop(
    shop: Shop, calls: Calls, other: Other
) -> None:
    """R199, R289: from the request to NOTIFIED, nothing of it stops the other tasks."""

    async def all_notified() -> bool:
        return await calls.statuses() == {"NOTIFIED": 3}

    with no_blocking_calls():
        await shop.place(*(order_of(PHONE) for _ in range(3)))
        async with calls.running():
            await calls.hear()
            await eventually(all_notified)
    events = {str(each.message.id): each.message.value for each in await shop.messages()}
    assert {each.headers["idempotency-key"]: each.body for each in other.asked} == events
    assert await calls.notices() == ["NOTIFY_SUCCESS"] * 3
    types = await shop.service.rows(
        "SELECT event_type, count(*) FROM notify.outbox_event GROUP BY 1 ORDER BY 1"
    )
    assert types == [("NOTIFY_SUCCESS", 3), ("ORDER_CREATED", 3)]
    steps = await shop.service.rows(
        "SELECT event, from_status, to_status FROM app.order_timeline WHERE seq = 2"
    )
    assert steps == [("NotifySucceeded", "PLACED", "NOTIFIED")] * 3
    assert shop.service.tally.counts["orders_confirmed_total"] == 3


async def test_the_other_side_is_called_between_two_commits(
    shop: Shop, calls: Calls, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R288: stock, order and event are one commit; what is owed another; then the call is made.

    However long the second takes. What became of the call is a commit of its own.
    """
    looked: dict[str, tuple[Any, ...]] = {}
    passed: Counter[str] = Counter()
    lock = "SELECT id FROM app.products WHERE name = 'Phone' FOR UPDATE NOWAIT"

    async def look(point: str, _who: str) -> None:
        passed[point] += 1
        if point == "intake.before_commit":
            with pytest.raises(MessagingError):
                await shop.service.rows(lock)
        if point in BETWEEN:
            (counts,) = await shop.service.rows(COUNTS)
            looked[point] = (counts, *await calls.statuses(), len(other.asked))

    async def claimed() -> bool:
        calls.deliverer.wake()
        return passed["delivery.before_claim"] >= 3

    async def notified() -> bool:
        return await calls.statuses() == {"NOTIFIED": 1}

    monkeypatch.setattr(crash_points, "hook", look)
    await shop.place(order_of(PHONE))
    async with calls.running():
        async with shop.service.unit() as unit:
            await calls.handler.handle(unit, await shop.messages())
            await eventually(claimed)
            assert passed["owe.after_insert"] == 1
            assert passed["delivery.before_call"] == 0
        await eventually(notified)
    assert looked == {
        "intake.before_commit": ((0, 0, 0), 0),
        "delivery.before_call": ((1, 1, 1), "PLACED", 0),
        "settle.before_commit": ((1, 1, 1), "PLACED", 1),
    }


async def test_asked_again_an_order_has_one_call(shop: Shop, calls: Calls, other: Other) -> None:
    """R165: what the deadline asks again under a new id owes nothing that is owed already."""
    await shop.place(order_of(PHONE))
    (first,) = await shop.messages()
    assert isinstance(first.event, OrderCreated)
    async with shop.service.unit() as unit:
        again = shop.ports.unit(unit.transaction)
        again.publish(first.event, key=first.message.key, aggregate_version=2)

    async def notified() -> bool:
        return await calls.statuses() == {"NOTIFIED": 1}

    async with calls.running():
        await calls.hear()
        await eventually(notified)
        await calls.hear()
    assert [each.headers["idempotency-key"] for each in other.asked] == [str(first.message.id)]


async def test_what_is_owed_is_not_asked_for(shop: Shop, calls: Calls) -> None:
    """M3: eight hours of outage publish nothing; only an order whose call is gone is asked about.

    Others act on every event: one more would be one more notification to them.
    """
    service, seen = shop.service, []
    deadlines = Deadlines(
        shop.ports,
        process=PROCESS,
        store=service.stores.orders,
        called=called(service.deliveries, http_notify.NOTIFY),
    )

    async def outage(hours: int) -> None:
        end = service.clock.instant + timedelta(hours=hours)
        while service.clock.instant < end:
            service.clock.instant += timedelta(minutes=2)
            seen.append(await deadlines.ask())

    await shop.place(order_of(PHONE), order_of(PHONE))
    await calls.hear()
    await outage(8)
    assert len(await shop.messages()) == 2
    assert 10 < sum(seen) < 90
    ((gone, key), _) = await service.rows("SELECT id, key FROM messaging.deliveries ORDER BY key")
    async with service.unit() as unit:
        gone_row = service.stores.orders.tables("DELETE FROM messaging.deliveries WHERE id = $1")
        await unit.execute(gone_row, gone)
    await outage(2)
    again = [each.message.key for each in (await shop.messages())[2:]]
    assert set(again) == {key.split(":")[0]}
    assert len(again) < 20


async def test_whatever_the_other_side_says_the_order_waits(
    shop: Shop, calls: Calls, other: Other
) -> None:
    """400 is no end: four tries, then NOTIFY_FAILED, and the order stays PLACED with its stock."""
    other.status = 400
    await shop.place(order_of(PHONE))

    async def failed() -> bool:
        return await calls.notices() == ["NOTIFY_FAILED"]

    async with calls.running():
        await calls.hear()
        await eventually(failed)
    assert len(other.asked) == 4
    assert await calls.statuses() == {"PLACED": 1}
    assert await shop.stock() == [9, 5, 15]


async def test_an_operator_may_give_up_and_a_late_answer_changes_nothing(
    shop: Shop, calls: Calls
) -> None:
    """FAILED by a verdict; stock stays with the order. Its status is final (P8)."""
    await shop.place(order_of(PHONE))
    await calls.hear()
    keys = [row[0] for row in await shop.service.rows("SELECT key FROM messaging.deliveries")]
    ((delivery, _),) = await shop.service.deliveries.find(http_notify.NOTIFY, keys)
    for outcome in (Refused("given up"), Delivered(b"200")):
        async with shop.service.unit() as unit:
            await calls.folded.lock(unit, [delivery])
            await calls.folded.settled(unit, [(delivery, outcome)])
        assert await calls.statuses() == {"FAILED": 1}
    assert await shop.stock() == [9, 5, 15]

"""Inventory on a real database: given stock, when messages come, then every unit is accounted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.commerce.support import KEYBOARD, MOUSE, NOW, Service, Tally, created, received

from waybill.commerce.contracts import (
    OrderConfirmed,
    OrderCreated,
    Reason,
    StockRejected,
    StockReleased,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.inventory.catalogue import Catalogue
from waybill.commerce.inventory.handlers import InventoryHandler
from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.commerce.contracts import Event

LEVEL = "SELECT available, reserved, sold FROM app.products WHERE id = $1"

UNBALANCED = """
SELECT p.id FROM app.products p JOIN app.stock_ledger l ON l.product_id = p.id
GROUP BY p.id
HAVING max(p.available) <> sum(l.d_available) OR max(p.reserved) <> sum(l.d_reserved)
    OR max(p.sold) <> sum(l.d_sold)
    OR max(p.available + p.reserved + p.sold)
       <> sum(CASE WHEN l.kind IN ('initial', 'adjust') THEN l.d_available END)
"""
"""I30 and I31: rows are violations."""


@pytest.fixture
def handler(inventory: Service) -> InventoryHandler:
    """The handler under test."""
    return InventoryHandler(inventory.tally, store=inventory.stores.stock)


def catalogue_of(inventory: Service) -> Catalogue:
    """The products of this service."""
    return Catalogue(inventory.database, lambda: NOW, inventory.stores.stock)


async def level(service: Service, product: UUID) -> tuple[int, int, int]:
    """Available, reserved, sold."""
    (row,) = await service.rows(LEVEL, product)
    return row[0], row[1], row[2]


async def test_stock_is_held_for_an_order_that_fits(
    inventory: Service, handler: InventoryHandler
) -> None:
    """An order that fits gets all its lines held, and the event says so."""
    ask = created((MOUSE, 2), (KEYBOARD, 1), (MOUSE, 3))
    assert await inventory.handle(handler, [ask]) == [
        StockReserved(
            order_id=ask.order_id,
            items=ask.items,
            total_amount=ask.total_amount,
            currency="EUR",
            not_after=ask.not_after,
        )
    ]
    assert await level(inventory, MOUSE) == (95, 5, 0)
    assert await level(inventory, KEYBOARD) == (49, 1, 0)
    assert inventory.tally.counts == {"stock_reserved_total": 1}


async def test_m7_no_timer_of_inventory_releases_a_reservation(
    inventory: Service, handler: InventoryHandler
) -> None:
    """M7: long after its deadline an order holds its stock, until the order's host says so."""
    ask = created((MOUSE, 2))
    await inventory.handle(handler, [ask])
    inventory.clock.instant += timedelta(days=365)
    other = created((KEYBOARD, 1), not_after=inventory.clock.instant + timedelta(minutes=15))
    await inventory.handle(handler, [other])
    assert await level(inventory, MOUSE) == (98, 2, 0)
    await inventory.handle(handler, [StockReleaseRequested(order_id=ask.order_id)])
    assert await level(inventory, MOUSE) == (100, 0, 0)


async def test_nothing_is_held_for_an_order_that_does_not_fit(
    inventory: Service, handler: InventoryHandler
) -> None:
    """One line that does not fit refuses the whole order, with the product's name."""
    ask = created((MOUSE, 2), (KEYBOARD, 51))
    (answer,) = await inventory.handle(handler, [ask])
    assert answer == StockRejected(
        order_id=ask.order_id,
        reason=Reason.STOCK_UNAVAILABLE,
        detail="Insufficient stock for product: Mechanical Keyboard",
    )
    assert await level(inventory, MOUSE) == (100, 0, 0)
    unknown = new_id()
    (answer,) = await inventory.handle(handler, [created((unknown, 1))])
    assert isinstance(answer, StockRejected)
    assert answer.detail == f"Product not found: {unknown}"


async def test_a_batch_is_decided_order_by_order(
    inventory: Service, handler: InventoryHandler
) -> None:
    """M10: an order too large for the rest of the stock leaves room for a smaller one."""
    asks = [created((MOUSE, 60)), created((MOUSE, 60)), created((MOUSE, 40))]
    answers = await inventory.handle(handler, asks)
    assert [type(answer) for answer in answers] == [StockReserved, StockRejected, StockReserved]
    assert await level(inventory, MOUSE) == (0, 100, 0)


async def test_an_ask_that_was_answered_gets_the_same_answer(
    inventory: Service, handler: InventoryHandler
) -> None:
    """M3: asked again under a new id, inventory repeats its answer and holds nothing twice."""
    fits, misfit = created((MOUSE, 2)), created((KEYBOARD, 51))
    first = await inventory.handle(handler, [fits, misfit])
    again = await inventory.handle(handler, [fits, misfit, fits])
    assert again == [*first, first[0]]
    assert await level(inventory, MOUSE) == (98, 2, 0)
    assert inventory.tally.counts == {"stock_reserved_total": 1}
    versions = await inventory.rows(
        "SELECT aggregate_version FROM messaging.outbox WHERE aggregateid = $1 ORDER BY seq",
        str(fits.order_id),
    )
    assert versions == [(1,), (2,), (3,)], "aggregate versions are gapless (I19)"


async def test_a_release_gives_back_and_leaves_a_tombstone(
    inventory: Service, handler: InventoryHandler
) -> None:
    """M4: what is released is back once, and a late or repeated ask holds nothing any more."""
    ask, never_asked = created((MOUSE, 2)), created((KEYBOARD, 1))
    await inventory.handle(handler, [ask])
    release = StockReleaseRequested(order_id=ask.order_id, items=ask.items)
    early = StockReleaseRequested(order_id=never_asked.order_id, items=never_asked.items)
    answers = await inventory.handle(handler, [release, release, early, never_asked, ask])
    assert {type(answer) for answer in answers} == {StockReleased}
    assert await level(inventory, MOUSE) == (100, 0, 0)
    assert await level(inventory, KEYBOARD) == (50, 0, 0)


async def test_a_confirmed_order_sells_what_it_held(
    inventory: Service, handler: InventoryHandler
) -> None:
    """A confirmation books held stock as sold, once, and publishes nothing."""
    ask = created((MOUSE, 2))
    confirmed = OrderConfirmed(order_id=ask.order_id)
    answers = await inventory.handle(handler, [ask, confirmed, confirmed])
    assert [type(answer) for answer in answers] == [StockReserved]
    assert await inventory.handle(handler, [confirmed]) == []
    assert await level(inventory, MOUSE) == (98, 0, 2)


async def test_a_confirmation_without_stock_is_a_poison_message(
    inventory: Service, handler: InventoryHandler
) -> None:
    """A message that contradicts the books is permanent, and names itself."""
    poison = received(OrderConfirmed(order_id=new_id()))
    async with inventory.unit() as unit:
        with pytest.raises(PermanentError) as error:
            await handler.handle(unit, [poison])
    assert error.value.message_ids == (poison.message.id,)


async def test_after_the_deadline_nothing_is_held(
    inventory: Service, handler: InventoryHandler
) -> None:
    """An ask that comes after its not_after is refused, reason deadline."""
    late = created((MOUSE, 1), not_after=NOW - timedelta(seconds=1))
    (answer,) = await inventory.handle(handler, [late])
    assert isinstance(answer, StockRejected)
    assert answer.reason is Reason.DEADLINE
    assert await level(inventory, MOUSE) == (100, 0, 0)


async def test_a_batch_of_200_takes_as_many_statements_as_a_batch_of_one(
    inventory: Service, handler: InventoryHandler
) -> None:
    """Statements a batch are a constant."""
    await Catalogue(inventory.database, lambda: NOW, inventory.stores.stock).change(
        MOUSE, "Wireless Mouse", 100_000
    )
    counts = []
    for size in (1, 200):
        asks = [created((MOUSE, 1), (MOUSE, 2)) for _ in range(size)]
        for events in (asks, [OrderConfirmed(order_id=ask.order_id) for ask in asks]):
            inventory.database.statements = 0
            await inventory.handle(handler, events)
            counts.append(inventory.database.statements)
    assert counts[:2] == counts[2:]
    # On MariaDB each table is a statement of its own.
    most = 4 if inventory.is_mysql else 2
    assert max(counts) == most, "a lock and a save; the outbox's flush is apart"


async def test_concurrent_batches_never_oversell_and_never_deadlock(
    inventory: Service, handler: InventoryHandler
) -> None:
    """P7: batches with their lines in opposite orders run side by side, and 100 units go once."""
    forward = [[created((MOUSE, 1), (KEYBOARD, 1)) for _ in range(20)] for _ in range(4)]
    backward = [[created((KEYBOARD, 1), (MOUSE, 1)) for _ in range(20)] for _ in range(4)]

    async def run(batch: list[OrderCreated]) -> None:
        async with inventory.unit() as unit:
            await handler.handle(unit, [received(ask) for ask in batch])

    await asyncio.gather(*(run(batch) for batch in [*forward, *backward]))
    assert await level(inventory, KEYBOARD) == (0, 50, 0)
    assert await level(inventory, MOUSE) == (50, 50, 0)
    assert await inventory.rows(UNBALANCED) == []


async def test_stock_is_conserved_through_a_random_workload(
    inventory: Service, handler: InventoryHandler
) -> None:
    """I29 to I34: whatever happens in whatever order, the levels are the fold of the ledger."""
    random = Random(7)  # noqa: S311 - a workload, not a secret
    catalogue = catalogue_of(inventory)
    asks = [
        created((random.choice([MOUSE, KEYBOARD]), random.randint(1, 9)), (MOUSE, 1))
        for _ in range(60)
    ]
    held: set[UUID] = set()
    for _ in range(30):
        batch: list[Event] = []
        for ask in random.sample(asks, 6):
            releasing = StockReleaseRequested(order_id=ask.order_id, items=ask.items)
            confirmed = OrderConfirmed(order_id=ask.order_id)
            can_confirm = ask.order_id in held and random.randint(0, 2) == 0
            batch.append(confirmed if can_confirm else random.choice([ask, ask, releasing]))
        done = {each.order_id for each in batch if isinstance(each, OrderConfirmed)}
        batch = [
            event
            for event in batch
            if not (isinstance(event, StockReleaseRequested) and event.order_id in done)
        ]
        for answer in await inventory.handle(handler, batch):
            if isinstance(answer, StockReserved):
                held.add(answer.order_id)
            else:
                held.discard(answer.order_id)
        sold = await inventory.rows(
            "SELECT order_id FROM app.reservations WHERE status = 'COMMITTED'"
        )
        asks = [ask for ask in asks if (ask.order_id,) not in sold]
        await catalogue.change(KEYBOARD, "Mechanical Keyboard", random.randint(0, 40))
    assert await inventory.rows(UNBALANCED) == []
    moved = await inventory.rows("SELECT kind, count(*) FROM app.stock_ledger GROUP BY kind")
    assert {kind for kind, _ in moved} == {"initial", "adjust", "reserve", "release", "commit"}


async def test_each_ledger_entry_names_the_message_behind_it(
    inventory: Service, handler: InventoryHandler
) -> None:
    """I25: an effect can be traced to the message that caused it."""
    ask = received(created((MOUSE, 2)))
    assert isinstance(ask.event, OrderCreated)
    sale = received(OrderConfirmed(order_id=ask.event.order_id))
    async with inventory.unit() as unit:
        await handler.handle(unit, [ask, sale])
    entries = await inventory.rows(
        "SELECT kind, message_id FROM app.stock_ledger WHERE order_id = $1 ORDER BY kind",
        ask.event.order_id,
    )
    assert entries == [("commit", sale.message.id), ("reserve", ask.message.id)]


async def test_nothing_is_counted_that_did_not_commit(inventory: Service) -> None:
    """D23: a unit that rolls back leaves the counters alone."""
    tally = Tally()

    async def fail() -> None:
        async with inventory.unit() as unit:
            await InventoryHandler(tally, store=inventory.stores.stock).handle(
                unit, [received(created((MOUSE, 1)))]
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert tally.counts == {}


async def test_products_change_by_ledger_entries(inventory: Service) -> None:
    """A change of stock is a ledger entry, never an overwrite."""
    catalogue = catalogue_of(inventory)
    product = new_id()
    made = await catalogue.create(product, "Lamp", 5)
    assert made is not None
    assert (made.stock, made.reserved) == (5, 0)
    assert await catalogue.create(product, "Other", 9) is None
    changed = await catalogue.change(product, "Desk Lamp", 3)
    assert changed == await catalogue.product(product)
    assert await catalogue.change(new_id(), "Nothing", 1) is None
    entries = await inventory.rows(
        "SELECT kind, d_available FROM app.stock_ledger WHERE product_id = $1 ORDER BY kind DESC",
        product,
    )
    assert entries == [("initial", 5), ("adjust", -2)]
    pages = [await catalogue.products(after=None, limit=4)]
    pages.append(await catalogue.products(after=pages[0][-1].id, limit=4))
    assert [len(page) for page in pages] == [4, 2]
    assert await inventory.rows(UNBALANCED) == []


async def test_a_release_always_fits_on_top_of_what_an_operator_counted(
    inventory: Service, handler: InventoryHandler
) -> None:
    """Stock set to the API's limit while units are held: their release is no poison."""
    ask = created((MOUSE, 5))
    await inventory.handle(handler, [ask])
    await Catalogue(inventory.database, lambda: NOW, inventory.stores.stock).change(
        MOUSE, "Mouse", 1_000_000_000
    )
    await inventory.handle(handler, [StockReleaseRequested(order_id=ask.order_id, items=ask.items)])
    assert await level(inventory, MOUSE) == (1_000_000_005, 0, 0)
    assert await inventory.rows(UNBALANCED) == []

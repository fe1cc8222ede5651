"""Orders at the prices of a list: judged in the order's own transaction, retries excepted."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.commerce.support import KEYBOARD, MOUSE, NOW, Service, lines
from tests.commerce.test_orders_intake import COUNTS, place, request

from waybill.blueprints import choreography
from waybill.commerce.http.problem import FieldError
from waybill.commerce.orders import prices
from waybill.commerce.orders.prices import Price, PricedFlush
from waybill.commerce.orders.request import KeyReused, NotTaken, Placed

if TYPE_CHECKING:
    from uuid import UUID


@pytest.fixture
def flush(order: Service) -> PricedFlush:
    """The flush under test."""
    return PricedFlush(
        order.ports,
        process=choreography.PROCESS,
        deadline=timedelta(minutes=15),
        counters=order.tally,
    )


async def set_price(order: Service, product: UUID, price: str, currency: str = "EUR") -> None:
    """What it costs from now on; the mouse is called M-1."""
    name = "M-1" if product == MOUSE else str(product)
    async with order.database.transaction() as transaction:
        known = Price(product, currency, name, Decimal(price))
        await prices.put(transaction, known, NOW)


async def test_another_price_is_refused_and_stores_nothing(
    order: Service, flush: PricedFlush
) -> None:
    """409 names every product and its present price; with that price the same key works."""
    await set_price(order, MOUSE, "31.50")
    await set_price(order, KEYBOARD, "89")
    wanted = lines((KEYBOARD, 1, "88.99"), (MOUSE, 2, "29.99"), (KEYBOARD, 1, "89.00"))
    (refused,) = await place(flush, request("k-1", *wanted))
    assert refused == NotTaken(
        409,
        "price_changed",
        f"Product {KEYBOARD} costs 89.00 EUR",
        (
            FieldError(f"Product {KEYBOARD} costs 89.00 EUR", pointer="#/items/0"),
            FieldError("Product M-1 costs 31.50 EUR", pointer="#/items/1"),
        ),
    )
    assert await order.rows(COUNTS) == [(0, 0, 0, 0)]
    (placed,) = await place(flush, request("k-1", *lines((MOUSE, 2, "31.5")), fingerprint="b" * 64))
    assert isinstance(placed, Placed)
    assert not placed.replayed


async def test_a_product_without_a_price_in_the_currency_is_not_sold(
    order: Service, flush: PricedFlush
) -> None:
    """Neither by another currency's price, nor after it was taken off the list."""
    await set_price(order, MOUSE, "29.99", "USD")
    (refused,) = await place(flush, request("k-1"))
    assert isinstance(refused, NotTaken)
    assert (refused.status, refused.code) == (409, "price_unknown")
    assert refused.detail == f"Product {MOUSE} has no price in EUR"
    await set_price(order, MOUSE, "29.99")
    async with order.database.transaction() as transaction:
        assert await prices.remove(transaction, MOUSE, "EUR")
        assert not await prices.remove(transaction, MOUSE, "EUR")
    (still,) = await place(flush, request("k-1"))
    assert still == refused
    assert await order.rows(COUNTS) == [(0, 0, 0, 0)]
    listed = await prices.listed(order.database, 10)
    assert [(each["name"], each["currency"]) for each in listed] == [("M-1", "USD")]


async def test_a_retry_gets_the_first_answer_whatever_the_price_is_now(
    order: Service, flush: PricedFlush
) -> None:
    """P5: accepted is accepted; another payload under the key is told that, not the price."""
    await set_price(order, MOUSE, "29.99")
    (first,) = await place(flush, request("k-1"))
    assert isinstance(first, Placed)
    await set_price(order, MOUSE, "35")
    again, other, new = await place(
        flush, request("k-1"), request("k-1", fingerprint="b" * 64), request("k-2")
    )
    assert again == Placed(first.body, replayed=True, order_id=first.order_id)
    assert isinstance(other, KeyReused)
    assert isinstance(new, NotTaken)
    assert await order.rows(COUNTS) == [(1, 1, 1, 1)]


async def test_one_flush_judges_each_order_by_itself(order: Service, flush: PricedFlush) -> None:
    """Two statements more, however many orders it has; a refused one costs the others nothing."""
    await set_price(order, MOUSE, "29.99")
    dear = lines((MOUSE, 1, "1"))
    results = await place(
        flush,
        request("k-1"),
        request("k-2", *dear),
        request("k-3", *lines((KEYBOARD, 1, "89"))),
        request("k-2", *dear),
        request("k-4"),
    )
    kinds = [each.code if isinstance(each, NotTaken) else type(each) for each in results]
    assert kinds == [Placed, "price_changed", "price_unknown", "price_changed", Placed]
    assert await order.rows(COUNTS) == [(2, 2, 2, 2)]
    before = order.database.statements
    await place(flush, *(request(f"n-{number}") for number in range(20)))
    assert order.database.statements - before <= 5

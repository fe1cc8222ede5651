"""Prices that orders are held to: a client's unit price is what it expects, the list decides.

Judged in the transaction that stores the order, so that an accepted order had the price of that
instant. A price that changes later changes no order, and no answer that was given.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.http.problem import FieldError
from waybill.commerce.orders.refusing_intake import RefusingFlush
from waybill.commerce.orders.request import NotTaken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from waybill.commerce.orders.domain import Order
    from waybill.commerce.orders.intake import Draft
    from waybill.messaging.core.ports import Database, Transaction
    from waybill.messaging.core.unit import UnitOfWork

_OF = """
SELECT product_id, currency, name, unit_price FROM app.prices WHERE product_id = ANY($1)
"""
_LIST = """
SELECT name, currency, unit_price, changed_at, product_id FROM app.prices
ORDER BY name, currency LIMIT $1
"""
_SET = """
INSERT INTO app.prices AS known (product_id, currency, name, unit_price, changed_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (product_id, currency) DO UPDATE
SET name = excluded.name, unit_price = excluded.unit_price, changed_at = excluded.changed_at
"""
_REMOVE = "DELETE FROM app.prices WHERE product_id = $1 AND currency = $2"


class Price(msgspec.Struct, frozen=True):
    """What one unit of a product costs, and what customers call the product."""

    product_id: UUID
    currency: str
    name: str
    unit_price: Decimal


Present = dict[tuple["UUID", str], Price]
"""Prices by product and currency."""


async def present(transaction: Transaction, product_ids: Sequence[UUID]) -> Present:
    """What these products cost now."""
    rows = await transaction.fetch(_OF, product_ids)
    found = [Price(row[0], row[1], row[2], row[3]) for row in rows]
    return {(each.product_id, each.currency): each for each in found}


async def listed(database: Database, limit: int) -> list[dict[str, object]]:
    """At most `limit` prices by name."""
    columns = ("name", "currency", "unit_price", "changed_at", "product_id")
    return [
        {column: row[column] for column in columns} for row in await database.fetch(_LIST, limit)
    ]


async def put(transaction: Transaction, price: Price, now: datetime) -> None:
    """A price from now on; may be repeated."""
    given = (price.product_id, price.currency, price.name, price.unit_price)
    await transaction.execute(_SET, *given, now)


async def remove(transaction: Transaction, product_id: UUID, currency: str) -> bool:
    """Sell it no more in this currency; whether it was."""
    return await transaction.execute(_REMOVE, product_id, currency) > 0


def judged(order: Order, prices: Present) -> NotTaken | None:
    """What is told of an order whose prices are not those of today; None: they are."""
    unknown: list[FieldError] = []
    changed: list[FieldError] = []
    for number, line in enumerate(order.items):
        price = prices.get((line.product_id, order.currency))
        place = f"#/items/{number}"
        if price is None:
            detail = f"Product {line.product_id} has no price in {order.currency}"
            unknown.append(FieldError(detail, pointer=place))
        elif price.unit_price != line.unit_price:
            detail = f"Product {price.name} costs {price.unit_price} {order.currency}"
            changed.append(FieldError(detail, pointer=place))
    if unknown:
        return NotTaken(409, "price_unknown", unknown[0].detail, tuple(unknown))
    if changed:
        return NotTaken(409, "price_changed", changed[0].detail, tuple(changed))
    return None


class PricedFlush(RefusingFlush):
    """An OrderFlush that takes new orders at the prices of today only."""

    async def refused(self, unit: UnitOfWork, new: Sequence[Draft]) -> Mapping[UUID, NotTaken]:
        """See RefusingFlush."""
        products = sorted({line.product_id for draft in new for line in draft.order.items})
        prices = await present(unit.transaction, products)
        found = {draft.order.id: judged(draft.order, prices) for draft in new}
        return {order_id: told for order_id, told in found.items() if told is not None}

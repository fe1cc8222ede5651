"""Stock: never negative, conserved to the unit, explained by its ledger, held by nobody at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.operations.audit.merge import side_by_side
from waybill.operations.audit.rule import Books, Kind, Rule, statement
from waybill.operations.audit.scope import INVENTORY, ORDER, Need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.operations.audit.rule import Found

_NEGATIVE = """
SELECT id AS product_id, name, available, reserved, sold FROM app.products
WHERE available < 0 OR reserved < 0 OR sold < 0 ORDER BY id
"""

_CONSERVED = """
SELECT p.id AS product_id, p.name, coalesce(l.brought, 0) AS brought, p.available, p.reserved,
       p.sold
FROM app.products p LEFT JOIN (
    SELECT product_id, sum(d_available) AS brought FROM app.stock_ledger
    WHERE kind IN ('initial', 'adjust') GROUP BY product_id
) AS l ON l.product_id = p.id
WHERE coalesce(l.brought, 0) <> p.available + p.reserved + p.sold ORDER BY p.id
"""

_FOLDED = """
SELECT coalesce(p.id, l.product_id) AS product_id, p.name,
       p.available, l.available AS ledger_available, p.reserved, l.reserved AS ledger_reserved,
       p.sold, l.sold AS ledger_sold
FROM app.products p FULL JOIN (
    SELECT product_id, sum(d_available) AS available, sum(d_reserved) AS reserved,
           sum(d_sold) AS sold
    FROM app.stock_ledger GROUP BY product_id
) AS l ON l.product_id = p.id
WHERE (p.available, p.reserved, p.sold) IS DISTINCT FROM (l.available, l.reserved, l.sold)
ORDER BY 1
"""

# What an order moves stays; what comes or goes is no order's.
_BALANCED = """
SELECT product_id, order_id, kind, d_available, d_reserved, d_sold, at FROM app.stock_ledger
WHERE CASE WHEN kind IN ('initial', 'adjust')
           THEN order_id IS NOT NULL OR d_reserved <> 0 OR d_sold <> 0
           ELSE order_id IS NULL OR d_available + d_reserved + d_sold <> 0 END
ORDER BY product_id, at
"""

_ONCE = """
SELECT order_id, product_id, count(*) FILTER (WHERE kind = 'reserve') AS reserves,
       count(*) FILTER (WHERE kind = 'release') AS releases,
       count(*) FILTER (WHERE kind = 'commit') AS commits
FROM app.stock_ledger WHERE order_id IS NOT NULL
GROUP BY order_id, product_id
HAVING count(*) FILTER (WHERE kind = 'reserve') <> 1
    OR count(*) FILTER (WHERE kind IN ('release', 'commit')) > 1
ORDER BY order_id, product_id
"""

_ORDERED = """
SELECT o.id AS order_id, (line ->> 'productId')::uuid AS product_id,
       sum((line ->> 'quantity')::numeric) AS quantity, o.status
FROM app.orders o CROSS JOIN jsonb_array_elements(o.lines) AS line
GROUP BY o.id, product_id ORDER BY o.id, product_id
"""
_HELD = """
SELECT order_id, product_id, sum(d_reserved) AS reserved, sum(d_sold) AS sold
FROM app.stock_ledger WHERE order_id IS NOT NULL
GROUP BY order_id, product_id ORDER BY order_id, product_id
"""
_STATUSES = "SELECT id AS order_id, status FROM app.orders ORDER BY id"
_RESERVATIONS = """
SELECT order_id, status AS reservation FROM app.reservations ORDER BY order_id
"""


async def follows_the_order(books: Books) -> AsyncIterator[Found]:
    """I33: a confirmed order's lines are sold, any other order holds nothing, in either book."""
    holding = books.scope.holding
    async for line, move in side_by_side(
        books.stream(ORDER, _ORDERED), books.stream(INVENTORY, _HELD), ("order_id", "product_id")
    ):
        some = line or move or {}
        status = line["status"] if line else None
        wanted = line["quantity"] if line and status in holding else 0
        right = (0, wanted) if books.scope.sells else (wanted, 0)
        reserved, sold = (move["reserved"], move["sold"]) if move else (0, 0)
        if (reserved, sold) != right and str(some["order_id"]) not in books.waiting:
            yield {
                "database": books.scope.home(INVENTORY),
                "order_id": some["order_id"],
                "product_id": some["product_id"],
                "status": status,
                "quantity": line and line["quantity"],
                "reserved": reserved,
                "sold": sold,
            }
    async for row in _reservations(books):
        yield row


async def _reservations(books: Books) -> AsyncIterator[Found]:
    async for order, held in side_by_side(
        books.stream(ORDER, _STATUSES), books.stream(INVENTORY, _RESERVATIONS), ("order_id",)
    ):
        some = order or held or {}
        status = order["status"] if order else None
        reservation = held["reservation"] if held else None
        kept = "COMMITTED" if books.scope.sells else "RESERVED"
        holds = status in books.scope.holding
        right = {kept} if holds else {"RELEASED", "REJECTED", None}
        if reservation not in right and str(some["order_id"]) not in books.waiting:
            yield {
                "database": books.scope.home(INVENTORY),
                "order_id": some["order_id"],
                "status": status,
                "reservation": reservation,
            }


_LEDGER_OF_PRODUCT = (
    "waybill psql {database} -c \"SELECT * FROM app.stock_ledger WHERE product_id = '{product_id}' "
    'ORDER BY at"'
)
_LEDGER_OF_ORDER = (
    "waybill psql {database} -c \"SELECT * FROM app.stock_ledger WHERE order_id = '{order_id}' "
    'ORDER BY at"'
)
_STOCK = frozenset((Need.STOCK,))

RULES = (
    Rule(
        id="I29",
        kind=Kind.ALWAYS,
        title="stock is never negative",
        needs=_STOCK,
        looks={INVENTORY: statement(_NEGATIVE)},
        look_at=_LEDGER_OF_PRODUCT,
    ),
    Rule(
        id="I30",
        kind=Kind.ALWAYS,
        title="initial stock and adjustments = available + reserved + sold",
        needs=_STOCK,
        looks={INVENTORY: statement(_CONSERVED)},
        look_at=_LEDGER_OF_PRODUCT,
    ),
    Rule(
        id="I31",
        kind=Kind.ALWAYS,
        title="a product's levels are the sums of its ledger",
        needs=_STOCK,
        looks={INVENTORY: statement(_FOLDED)},
        look_at=_LEDGER_OF_PRODUCT,
    ),
    Rule(
        id="I32",
        kind=Kind.ALWAYS,
        title="an order's moves sum to zero; adjustments are no order's",
        needs=_STOCK,
        looks={INVENTORY: statement(_BALANCED)},
        look_at=_LEDGER_OF_PRODUCT,
    ),
    Rule(
        id="I33",
        kind=Kind.QUIESCENT,
        title="a confirmed order's lines are sold, other orders hold nothing",
        needs=_STOCK,
        compare=follows_the_order,
        look_at=_LEDGER_OF_ORDER,
    ),
    Rule(
        id="I34",
        kind=Kind.ALWAYS,
        title="an order reserves a product once, and releases or sells it at most once",
        needs=_STOCK,
        looks={INVENTORY: statement(_ONCE)},
        look_at=_LEDGER_OF_ORDER,
    ),
)

"""Products as operators and customers see them: every change of stock is a ledger entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.inventory import store
from waybill.commerce.inventory.domain import adjust, introduce
from waybill.commerce.inventory.views import ProductView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row

_ONE = "SELECT id, name, available, reserved FROM app.products WHERE id = $1"
_PAGE = """
SELECT id, name, available, reserved FROM app.products
WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2
"""
_INSERT = """
INSERT INTO app.products (id, name, available, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4) ON CONFLICT (id) DO NOTHING
"""
_RENAME = "UPDATE app.products SET name = $2, updated_at = $3 WHERE id = $1 AND name <> $2"


class Catalogue:
    """The `Products` of the inventory service's API."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def product(self, product_id: UUID) -> ProductView | None:
        """One product; None if there is none."""
        rows = await self._database.fetch(_ONE, product_id)
        return _view(rows[0]) if rows else None

    async def products(self, *, after: UUID | None, limit: int) -> Sequence[ProductView]:
        """At most `limit` products by ascending id, of ids above `after`."""
        return [_view(row) for row in await self._database.fetch(_PAGE, after, limit)]

    async def create(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Add a product, its stock as a ledger entry; None if the id is taken."""
        now = self._now()
        level, move = introduce(product_id, name, stock)
        async with self._database.transaction() as transaction:
            if not await transaction.execute(_INSERT, product_id, name, stock, now):
                return None
            await store.save_stock(transaction, [], [move], now)
        return ProductView(product_id, name, level.available, level.reserved)

    async def change(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Rename, and bring the orderable stock to `stock` by a ledger entry; None: unknown."""
        now = self._now()
        async with self._database.transaction() as transaction:
            _, levels = await store.lock(transaction, [], [product_id])
            level = levels.get(product_id)
            if level is None:
                return None
            changed, move = adjust(level, name=name, available=stock)
            await transaction.execute(_RENAME, product_id, name, now)
            if move is not None:
                await store.save_stock(transaction, [changed], [move], now)
        return ProductView(product_id, name, changed.available, changed.reserved)


def _view(row: Row) -> ProductView:
    return ProductView(row["id"], row["name"], row["available"], row["reserved"])

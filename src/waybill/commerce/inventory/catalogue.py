"""Products as operators and customers see them: every change of stock is a ledger entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.inventory import store
from waybill.commerce.inventory.domain import adjust, introduce
from waybill.commerce.inventory.views import ProductView
from waybill.messaging.core.outbox_row import as_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.commerce.inventory.ports import StockStore
    from waybill.messaging.core.ports import Database, Row

_ONE = "SELECT id, name, available, reserved FROM app.products WHERE id = $1"
_FIRST_PAGE = "SELECT id, name, available, reserved FROM app.products ORDER BY id LIMIT $1"
_NEXT_PAGE = """
SELECT id, name, available, reserved FROM app.products WHERE id > $2 ORDER BY id LIMIT $1
"""
_RENAME = "UPDATE app.products SET name = $2, updated_at = $3 WHERE id = $1 AND name <> $2"


class Catalogue:
    """The `Products` of the inventory service's API."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], store: StockStore = store
    ) -> None:
        self._store = store
        self._database = database
        self._now = now

    async def product(self, product_id: UUID) -> ProductView | None:
        """One product; None if there is none."""
        rows = await self._database.fetch(self._store.tables(_ONE), product_id)
        return _view(rows[0]) if rows else None

    async def products(self, *, after: UUID | None, limit: int) -> Sequence[ProductView]:
        """At most `limit` products by ascending id, of ids above `after`."""
        statement, above = (_FIRST_PAGE, ()) if after is None else (_NEXT_PAGE, (after,))
        rows = await self._database.fetch(self._store.tables(statement), limit, *above)
        return [_view(row) for row in rows]

    async def create(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Add a product, its stock as a ledger entry; None if the id is taken."""
        now = self._now()
        level, move = introduce(product_id, name, stock)
        async with self._database.transaction() as transaction:
            if not await self._store.insert_product(transaction, product_id, name, stock, now):
                return None
            await self._store.save_stock(transaction, [], [move], now)
        return ProductView(product_id, name, level.available, level.reserved)

    async def change(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Rename, and bring the orderable stock to `stock` by a ledger entry; None: unknown."""
        now = self._now()
        async with self._database.transaction() as transaction:
            _, levels = await self._store.lock(transaction, [], [product_id])
            level = levels.get(product_id)
            if level is None:
                return None
            changed, move = adjust(level, name=name, available=stock)
            await transaction.execute(self._store.tables(_RENAME), product_id, name, now)
            if move is not None:
                await self._store.save_stock(transaction, [changed], [move], now)
        return ProductView(product_id, name, changed.available, changed.reserved)


def _view(row: Row) -> ProductView:
    return ProductView(as_uuid(row["id"]), row["name"], row["available"], row["reserved"])

"""What the inventory service asks of its store: one module an engine, chosen with the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.commerce.inventory.domain import Decision, Move, Reservation, Stock
    from waybill.messaging.core.ports import Transaction


class StockStore(Protocol):
    """`store` on PostgreSQL, `store_mysql` on MariaDB and MySQL. A constant of statements each."""

    def tables(self, statement: str, /) -> str:
        """A statement that is common to the engines, with the names that tables have here."""

    async def lock(
        self, transaction: Transaction, order_ids: Iterable[UUID], product_ids: Iterable[UUID]
    ) -> tuple[dict[UUID, Reservation], dict[UUID, Stock]]:
        """The reservations of these orders; levels of these products and of what those hold."""

    async def save_batch(
        self,
        transaction: Transaction,
        decision: Decision,
        *,
        before: Mapping[UUID, Reservation],
        causes: Mapping[tuple[UUID, str], UUID],
        now: datetime,
    ) -> None:
        """Write what a decision changed in locked rows: one row a product (M10)."""

    async def save_stock(
        self,
        transaction: Transaction,
        levels: Sequence[Stock],
        moves: Sequence[Move],
        now: datetime,
    ) -> None:
        """Write new levels of locked products with the adjustments that led to them."""

    async def insert_product(
        self, transaction: Transaction, product_id: UUID, name: str, stock: int, now: datetime
    ) -> bool:
        """Add a product, without its first adjustment; whether the id was free."""

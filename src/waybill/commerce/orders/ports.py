"""What the order service asks of its store: one module an engine, chosen with the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.commerce.orders.domain import Order
    from waybill.commerce.orders.store import Key, KeyRecord
    from waybill.commerce.timeline import TimelineEntry
    from waybill.messaging.core.ports import Transaction


class OrderStore(Protocol):
    """`store` on PostgreSQL, `store_mysql` on MariaDB and MySQL. A constant of statements each."""

    def tables(self, statement: str, /) -> str:
        """A statement that is common to the engines, with the names that tables have here."""

    async def lock(self, transaction: Transaction, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
        """Those of these orders that exist, locked until the transaction ends."""

    async def lock_due(self, transaction: Transaction, now: datetime, limit: int) -> list[Order]:
        """At most `limit` unsettled orders whose next question is due, skipping locked ones."""

    async def place(
        self,
        transaction: Transaction,
        placed: Sequence[tuple[Order, KeyRecord]],
        first: TimelineEntry,
    ) -> set[UUID]:
        """Write new orders, with keys and first entries, where the key is free; their ids."""

    async def save(
        self, transaction: Transaction, orders: Sequence[Order], entries: Sequence[TimelineEntry]
    ) -> None:
        """Write what facts changed in orders that are locked, and append to their timelines."""

    async def save_asked(self, transaction: Transaction, orders: Sequence[Order]) -> None:
        """Write that locked orders were asked about, and when they are next."""

    async def read_keys(
        self, transaction: Transaction, keys: Sequence[Key]
    ) -> dict[Key, KeyRecord]:
        """What these keys stand for, in a statement of its own."""

"""SQL of stock and reservations on MariaDB and MySQL: a constant of statements a batch.

Rows are locked in the order of their ids, reservations before products (protocol C3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from waybill.commerce.inventory.domain import ReservationStatus, Stock
from waybill.commerce.inventory.store import encode, moves_of, reservation
from waybill.commerce.tables import by_prefix as tables
from waybill.messaging.core.argument_table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from waybill.commerce.inventory.domain import Decision, Move, Reservation
    from waybill.messaging.core.ports import Transaction

__all__ = ["insert_product", "lock", "save_batch", "save_stock", "tables"]

# FOR UPDATE reads the newest version of a row: lock and load are one statement (protocol C2).
_LOCK = """
SELECT order_id AS id, status, version, quantities, reason, detail FROM app_reservations
WHERE order_id IN ($1) ORDER BY order_id FOR UPDATE
"""
_LOCK_STOCK = """
SELECT id, name, available, reserved, sold FROM app_products
WHERE id IN ($1) ORDER BY id FOR UPDATE
"""
_LEVELS = """
UPDATE app_products AS p JOIN ($1) AS u ON u.id = p.id
SET p.available = u.available, p.reserved = u.reserved, p.sold = u.sold, p.updated_at = $2
"""
_FIRST = """
INSERT INTO app_reservations
    (order_id, status, version, quantities, reason, detail, moves, created_at, updated_at)
VALUES $1
"""
_CHANGED = """
UPDATE app_reservations AS r JOIN ($1) AS u ON u.id = r.order_id
SET r.status = u.status, r.version = u.version, r.updated_at = $2,
    r.moves = json_merge_preserve(r.moves, u.moves)
"""
_ADJUSTMENTS = "INSERT INTO app_stock_adjustments (product_id, kind, d_available, at) VALUES $1"
_PRODUCT = """
INSERT INTO app_products (id, name, available, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
ON DUPLICATE KEY UPDATE id = id
"""
# The first adjustment goes in with its product: one that is there came with somebody else's.
_BROUGHT = "SELECT 1 FROM app_stock_adjustments WHERE product_id = $1 LIMIT 1"


async def lock(
    transaction: Transaction, order_ids: Iterable[UUID], product_ids: Iterable[UUID]
) -> tuple[dict[UUID, Reservation], dict[UUID, Stock]]:
    """See StockStore.lock."""
    held = {
        (id_ := UUID(bytes=row["id"])): reservation(id_, row)
        for row in await transaction.fetch(_LOCK, sorted(order_ids))
    }
    wanted = {*product_ids} | {
        quantity.product_id
        for each in held.values()
        if each.status is ReservationStatus.RESERVED
        for quantity in each.quantities
    }
    levels = [
        Stock(UUID(bytes=row[0]), row[1], row[2], row[3], row[4])
        for row in await transaction.fetch(_LOCK_STOCK, sorted(wanted))
    ]
    return held, {level.product_id: level for level in levels}


async def save_batch(
    transaction: Transaction,
    decision: Decision,
    *,
    before: Mapping[UUID, Reservation],
    causes: Mapping[tuple[UUID, str], UUID],
    now: datetime,
) -> None:
    """See StockStore.save_batch."""
    moves = moves_of(decision.moves, causes, now)
    await _save_levels(transaction, list(decision.levels.values()), now)
    first, changed = [], []
    for each in decision.reservations.values():
        moved = encode(moves.get(each.order_id, ())).decode()
        if each.order_id in before:
            changed.append((each.order_id, each.status.value, each.version, moved))
        else:
            first.append(
                (
                    each.order_id, each.status.value, each.version,
                    encode(each.quantities).decode(), each.reason and each.reason.value,
                    each.detail, moved, now, now,
                )
            )  # fmt: skip
    if first:
        await transaction.execute(_FIRST, sorted(first))
    if changed:
        await transaction.execute(_CHANGED, Table("id, status, version, moves", changed), now)


async def save_stock(
    transaction: Transaction, levels: Sequence[Stock], moves: Sequence[Move], now: datetime
) -> None:
    """See StockStore.save_stock."""
    await _save_levels(transaction, levels, now)
    rows = [(move.product_id, move.kind.value, move.available, now) for move in moves]
    if rows:
        await transaction.execute(_ADJUSTMENTS, rows)


async def insert_product(
    transaction: Transaction, product_id: UUID, name: str, stock: int, now: datetime
) -> bool:
    """See StockStore.insert_product."""
    await transaction.execute(_PRODUCT, product_id, name, stock, now)
    return not await transaction.fetch(_BROUGHT, product_id)


async def _save_levels(transaction: Transaction, levels: Sequence[Stock], now: datetime) -> None:
    rows = [(each.product_id, each.available, each.reserved, each.sold) for each in levels]
    if rows:
        await transaction.execute(_LEVELS, Table("id, available, reserved, sold", rows), now)

"""SQL of stock and reservations: one statement a batch, rows locked in the order of their ids.

`id = ANY($1)` stands in every statement beside `unnest`: the join alone may be planned on an empty
table, and then reads the whole of it for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.contracts import Reason
from waybill.commerce.inventory.domain import (
    Move,
    Quantity,
    Reservation,
    ReservationStatus,
    Stock,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Row, Transaction

_encode = msgspec.json.Encoder().encode
_decode_quantities = msgspec.json.Decoder(tuple[Quantity, ...]).decode

# One row holds all that an order has in stock, and FOR UPDATE returns its newest version: lock
# and load cannot see two states, so they are one statement here (protocol C2).
_LOCK_RESERVATIONS = """
SELECT order_id, status, version, quantities, reason, detail FROM app.reservations
WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE
"""

_LOCK_STOCK = """
SELECT id, name, available, reserved, sold FROM app.products
WHERE id = ANY($1) ORDER BY id FOR UPDATE
"""

_INSERT_RESERVATIONS = """
INSERT INTO app.reservations
    (order_id, status, version, quantities, reason, detail, created_at, updated_at)
SELECT u.order_id, u.status, u.version, u.quantities::jsonb, u.reason, u.detail, $7, $7
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[])
    AS u (order_id, status, version, quantities, reason, detail)
"""

_UPDATE_RESERVATIONS = """
UPDATE app.reservations r SET status = u.status, version = u.version, updated_at = $4
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS u (order_id, status, version)
WHERE r.order_id = u.order_id AND r.order_id = ANY($1::uuid[])
"""

_UPDATE_STOCK = """
UPDATE app.products p
SET available = u.available, reserved = u.reserved, sold = u.sold, updated_at = $5
FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) AS u (id, available, reserved, sold)
WHERE p.id = u.id AND p.id = ANY($1::uuid[])
"""

_INSERT_MOVES = """
INSERT INTO app.stock_ledger
    (product_id, order_id, kind, d_available, d_reserved, d_sold, message_id, at)
SELECT u.product_id, u.order_id, u.kind, u.d_available, u.d_reserved, u.d_sold, u.message_id, $8
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::int[], $6::int[], $7::uuid[])
    AS u (product_id, order_id, kind, d_available, d_reserved, d_sold, message_id)
"""


async def lock_reservations(
    transaction: Transaction, order_ids: Iterable[UUID]
) -> dict[UUID, Reservation]:
    """The reservations that these orders have, locked until the transaction ends."""
    rows = await transaction.fetch(_LOCK_RESERVATIONS, sorted(order_ids))
    return {row["order_id"]: _reservation(row) for row in rows}


async def lock_stock(transaction: Transaction, product_ids: Iterable[UUID]) -> dict[UUID, Stock]:
    """The levels of those products that exist, locked; after the reservations (protocol C3)."""
    rows = await transaction.fetch(_LOCK_STOCK, sorted(product_ids))
    return {
        row["id"]: Stock(row["id"], row["name"], row["available"], row["reserved"], row["sold"])
        for row in rows
    }


async def insert_reservations(
    transaction: Transaction, reservations: Sequence[Reservation], now: datetime
) -> None:
    """Write the first answers of orders."""
    await transaction.execute(
        _INSERT_RESERVATIONS,
        [each.order_id for each in reservations],
        [each.status.value for each in reservations],
        [each.version for each in reservations],
        [_encode(each.quantities).decode() for each in reservations],
        [each.reason.value if each.reason else None for each in reservations],
        [each.detail for each in reservations],
        now,
    )


async def update_reservations(
    transaction: Transaction, reservations: Sequence[Reservation], now: datetime
) -> None:
    """Write what changed in reservations that are locked."""
    await transaction.execute(
        _UPDATE_RESERVATIONS,
        [each.order_id for each in reservations],
        [each.status.value for each in reservations],
        [each.version for each in reservations],
        now,
    )


async def update_stock(transaction: Transaction, levels: Sequence[Stock], now: datetime) -> None:
    """Write new levels of locked products: one row a product, whatever the batch (M10)."""
    await transaction.execute(
        _UPDATE_STOCK,
        [level.product_id for level in levels],
        [level.available for level in levels],
        [level.reserved for level in levels],
        [level.sold for level in levels],
        now,
    )


async def insert_moves(
    transaction: Transaction,
    moves: Sequence[Move],
    now: datetime,
    *,
    causes: Mapping[tuple[UUID, str], UUID] | None = None,
) -> None:
    """Append to the ledger. `causes`: (order, kind of move) to the id of the message behind it."""
    known = causes or {}
    await transaction.execute(
        _INSERT_MOVES,
        [move.product_id for move in moves],
        [move.order_id for move in moves],
        [move.kind.value for move in moves],
        [move.available for move in moves],
        [move.reserved for move in moves],
        [move.sold for move in moves],
        [known.get((move.order_id, move.kind.value)) if move.order_id else None for move in moves],
        now,
    )


def _reservation(row: Row) -> Reservation:
    reason = row["reason"]
    return Reservation(
        order_id=row["order_id"],
        status=ReservationStatus(row["status"]),
        version=row["version"],
        quantities=_decode_quantities(row["quantities"]),
        reason=Reason(reason) if reason else None,
        detail=row["detail"],
    )

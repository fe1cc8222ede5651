"""SQL of stock and reservations: one statement a batch, rows locked in the order of their ids.

`id = ANY($1)` stands in every statement beside `unnest`: the join alone may be planned on an empty
table, and then reads the whole of it for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.columns import column
from waybill.commerce.contracts import Reason
from waybill.commerce.inventory.domain import (
    Quantity,
    Reservation,
    ReservationStatus,
    Stock,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.commerce.inventory.domain import Decision, Move
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

_LEDGER = """
INSERT INTO app.stock_ledger
    (product_id, order_id, kind, d_available, d_reserved, d_sold, message_id, at)
SELECT u.product_id, u.order_id, u.kind, u.d_available, u.d_reserved, u.d_sold, u.message_id, $1
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::uuid[])
    AS u (product_id, order_id, kind, d_available, d_reserved, d_sold, message_id)
"""

_LEVELS = """
UPDATE app.products p
SET available = u.available, reserved = u.reserved, sold = u.sold, updated_at = $1
FROM unnest($9::uuid[], $10::bigint[], $11::bigint[], $12::bigint[])
    AS u (id, available, reserved, sold)
WHERE p.id = u.id AND p.id = ANY($9::uuid[])
"""

# Levels and ledger never move apart (I31): one statement writes both.
_SAVE_STOCK = f"WITH levels AS ({_LEVELS}) {_LEDGER}"

_SAVE_BATCH = f"""
WITH levels AS ({_LEVELS}), first AS (
    INSERT INTO app.reservations
        (order_id, status, version, quantities, reason, detail, created_at, updated_at)
    SELECT u.order_id, u.status, u.version, u.quantities::jsonb, u.reason, u.detail, $1, $1
    FROM unnest($13::uuid[], $14::text[], $15::bigint[], $16::text[], $17::text[], $18::text[])
        AS u (order_id, status, version, quantities, reason, detail)
), changed AS (
    UPDATE app.reservations r SET status = u.status, version = u.version, updated_at = $1
    FROM unnest($19::uuid[], $20::text[], $21::bigint[]) AS u (order_id, status, version)
    WHERE r.order_id = u.order_id AND r.order_id = ANY($19::uuid[])
)
{_LEDGER}
"""  # noqa: S608 - constants


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


async def save_batch(
    transaction: Transaction,
    decision: Decision,
    *,
    before: Mapping[UUID, Reservation],
    causes: Mapping[tuple[UUID, str], UUID],
    now: datetime,
) -> None:
    """Write what a decision changed in locked rows: one row a product, whatever the batch (M10).

    `before`: the reservations that existed. `causes`: (order, kind of move) to the id of the
    message behind it.
    """
    written = decision.reservations.values()
    first = [each for each in written if each.order_id not in before]
    changed = [each for each in written if each.order_id in before]
    await transaction.execute(
        _SAVE_BATCH,
        *_stock(now, decision.moves, list(decision.levels.values()), causes),
        [each.order_id for each in first],
        [each.status.value for each in first],
        [each.version for each in first],
        [_encode(each.quantities).decode() for each in first],
        column(each.reason and each.reason.value for each in first),
        column(each.detail for each in first),
        [each.order_id for each in changed],
        [each.status.value for each in changed],
        [each.version for each in changed],
    )


async def save_stock(
    transaction: Transaction, levels: Sequence[Stock], moves: Sequence[Move], now: datetime
) -> None:
    """Write new levels of locked products with the moves that led to them."""
    await transaction.execute(_SAVE_STOCK, *_stock(now, moves, levels, {}))


def _stock(
    now: datetime,
    moves: Sequence[Move],
    levels: Sequence[Stock],
    causes: Mapping[tuple[UUID, str], UUID],
) -> list[object]:
    kinds = [move.kind.value for move in moves]
    return [
        now,
        [move.product_id for move in moves],
        column(move.order_id for move in moves),
        kinds,
        [move.available for move in moves],
        [move.reserved for move in moves],
        [move.sold for move in moves],
        column(
            causes.get((move.order_id, kind)) if move.order_id else None
            for move, kind in zip(moves, kinds, strict=True)
        ),
        [level.product_id for level in levels],
        [level.available for level in levels],
        [level.reserved for level in levels],
        [level.sold for level in levels],
    ]


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

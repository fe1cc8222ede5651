"""SQL of stock and reservations: one statement a batch, rows locked in the order of their ids.

`id = ANY($1)` stands in every statement beside `unnest`: the join alone may be planned on an empty
table, and then reads the whole of it for ever.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.columns import column
from waybill.commerce.contracts import Reason
from waybill.commerce.inventory.domain import (
    Quantity,
    Reservation,
    ReservationStatus,
    Stock,
)
from waybill.commerce.tables import by_schema as tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from waybill.commerce.inventory.domain import Decision, Move
    from waybill.messaging.core.ports import Row, Transaction

__all__ = ["insert_product", "lock", "save_batch", "save_stock", "tables"]

encode = msgspec.json.Encoder().encode
_decode_quantities = msgspec.json.Decoder(tuple[Quantity, ...]).decode

# Reservations first, then the products that they and the batch name (protocol C3): the ids of the
# second lock come out of the first one. Both return the newest rows and there is nothing else to
# load, so lock and load cannot see two states (protocol C2).
_LOCK = """
WITH held AS MATERIALIZED (
    SELECT order_id, status, version, quantities, reason, detail FROM app.reservations
    WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE
), stock AS MATERIALIZED (
    SELECT id, name, available, reserved, sold FROM app.products
    WHERE id = ANY(ARRAY(
        SELECT (each ->> 'productId')::uuid
        FROM held CROSS JOIN LATERAL jsonb_array_elements(held.quantities) AS each
        WHERE held.status = 'RESERVED'
        UNION SELECT unnest($2::uuid[])
    )) ORDER BY id FOR UPDATE
)
SELECT order_id AS id, status, version, quantities, reason, detail, NULL AS name,
       NULL::bigint AS available, NULL::bigint AS reserved, NULL::bigint AS sold FROM held
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL, name, available, reserved, sold FROM stock
"""

_ADJUSTMENTS = """
INSERT INTO app.stock_adjustments (product_id, kind, d_available, at)
SELECT u.product_id, u.kind, u.d_available, $1
FROM unnest($2::uuid[], $3::text[], $4::bigint[]) AS u (product_id, kind, d_available)
"""

_LEVELS = """
UPDATE app.products p
SET available = u.available, reserved = u.reserved, sold = u.sold, updated_at = $1
FROM unnest({}::uuid[], {}::bigint[], {}::bigint[], {}::bigint[])
    AS u (id, available, reserved, sold)
WHERE p.id = u.id AND p.id = ANY({}::uuid[])
"""

# Levels and ledger never move apart (I31): one statement writes both.
_SAVE_STOCK = f"WITH levels AS ({_LEVELS.format('$5', '$6', '$7', '$8', '$5')}) {_ADJUSTMENTS}"

_SAVE_BATCH = f"""
WITH levels AS ({_LEVELS.format("$2", "$3", "$4", "$5", "$2")}), first AS (
    INSERT INTO app.reservations
        (order_id, status, version, quantities, reason, detail, moves, created_at, updated_at)
    SELECT u.order_id, u.status, u.version, u.quantities::jsonb, u.reason, u.detail,
           u.moves::jsonb, $1, $1
    FROM unnest($6::uuid[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[],
                $12::text[])
        AS u (order_id, status, version, quantities, reason, detail, moves)
)
UPDATE app.reservations r
SET status = u.status, version = u.version, moves = r.moves || u.moves::jsonb, updated_at = $1
FROM unnest($13::uuid[], $14::text[], $15::bigint[], $16::text[])
    AS u (order_id, status, version, moves)
WHERE r.order_id = u.order_id AND r.order_id = ANY($13::uuid[])
"""  # noqa: S608 - constants

_INSERT_PRODUCT = """
INSERT INTO app.products (id, name, available, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4) ON CONFLICT (id) DO NOTHING
"""


class _Moved(msgspec.Struct, frozen=True, omit_defaults=True):
    """A move as it stands in the reservation's row, by the names of the ledger's columns.

    A unit is a product with its changes of available, reserved and sold.
    """

    kind: str
    at: datetime
    units: list[tuple[UUID, int, int, int]]
    message_id: UUID | None = None


async def lock(
    transaction: Transaction, order_ids: Iterable[UUID], product_ids: Iterable[UUID]
) -> tuple[dict[UUID, Reservation], dict[UUID, Stock]]:
    """The reservations of these orders, and the levels of these products and of what those hold.

    Those that exist, locked until the transaction ends.
    """
    rows = await transaction.fetch(_LOCK, sorted(order_ids), sorted(product_ids))
    return (
        {row["id"]: reservation(row["id"], row) for row in rows if row["status"] is not None},
        {
            row["id"]: Stock(row["id"], row["name"], row["available"], row["reserved"], row["sold"])
            for row in rows
            if row["status"] is None
        },
    )


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
    moves = moves_of(decision.moves, causes, now)
    await transaction.fetch_later(
        _SAVE_BATCH,
        now,
        *_columns(list(decision.levels.values())),
        [each.order_id for each in first],
        [each.status.value for each in first],
        [each.version for each in first],
        [encode(each.quantities).decode() for each in first],
        column(each.reason and each.reason.value for each in first),
        column(each.detail for each in first),
        [encode(moves.get(each.order_id, ())).decode() for each in first],
        [each.order_id for each in changed],
        [each.status.value for each in changed],
        [each.version for each in changed],
        [encode(moves.get(each.order_id, ())).decode() for each in changed],
    )


async def save_stock(
    transaction: Transaction, levels: Sequence[Stock], moves: Sequence[Move], now: datetime
) -> None:
    """Write new levels of locked products with the adjustments that led to them."""
    await transaction.execute(
        _SAVE_STOCK,
        now,
        [move.product_id for move in moves],
        [move.kind.value for move in moves],
        [move.available for move in moves],
        *_columns(levels),
    )


async def insert_product(
    transaction: Transaction, product_id: UUID, name: str, stock: int, now: datetime
) -> bool:
    """Add a product, without its first adjustment; whether the id was free."""
    return bool(await transaction.execute(_INSERT_PRODUCT, product_id, name, stock, now))


def _columns(levels: Sequence[Stock]) -> list[list[object]]:
    return [
        [level.product_id for level in levels],
        [level.available for level in levels],
        [level.reserved for level in levels],
        [level.sold for level in levels],
    ]


def moves_of(
    moves: Sequence[Move], causes: Mapping[tuple[UUID, str], UUID], now: datetime
) -> dict[UUID, list[_Moved]]:
    """The moves of each order, all products of one kind together."""
    moved: dict[UUID, list[_Moved]] = {}
    for move in moves:
        if move.order_id is None:
            raise AssertionError(f"a batch of messages cannot make a move of kind {move.kind}")
        kind, of_order = move.kind.value, moved.setdefault(move.order_id, [])
        if not of_order or of_order[-1].kind != kind:
            of_order.append(_Moved(kind, now, [], causes.get((move.order_id, kind))))
        unit = (move.product_id, move.available, move.reserved, move.sold)
        of_order[-1].units.append(unit)
    return moved


def reservation(order_id: UUID, row: Row) -> Reservation:
    """A reservation from its row."""
    reason = row["reason"]
    return Reservation(
        order_id=order_id,
        status=ReservationStatus(row["status"]),
        version=row["version"],
        quantities=_decode_quantities(row["quantities"]),
        reason=Reason(reason) if reason else None,
        detail=row["detail"],
    )

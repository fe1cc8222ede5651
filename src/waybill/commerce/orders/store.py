"""SQL of orders, their timeline and idempotency keys: one statement a batch, rows in id order.

`id = ANY($1)` stands in every statement beside `unnest`: the join alone may be planned on an empty
table, and then reads the whole of it for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Line
from waybill.commerce.orders.domain import Order
from waybill.commerce.process import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from waybill.commerce.orders.domain import TimelineEntry
    from waybill.messaging.core.ports import Row, Transaction

_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode_lines = msgspec.json.Decoder(tuple[Line, ...]).decode

COLUMNS = """
    id, customer_id, currency, total_amount, lines, status, facts, reason, detail, payment_id,
    version, timeline_seq, not_after, ask_at, asks, settled_at, created_at, updated_at
"""

# The facts stand in the order's own row, and FOR UPDATE returns its newest version: lock and load
# cannot see two states, so they are one statement here (protocol C2).
_LOCK = f"SELECT {COLUMNS} FROM app.orders WHERE id = ANY($1) ORDER BY id FOR UPDATE"  # noqa: S608 - a constant

_LOCK_DUE = f"""
SELECT {COLUMNS} FROM app.orders WHERE settled_at IS NULL AND ask_at <= $1
ORDER BY ask_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant

_INSERT = """
INSERT INTO app.orders
    (id, customer_id, currency, total_amount, lines, status, version, timeline_seq, not_after,
     ask_at, scope, route, idempotency_key, created_at, updated_at)
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::numeric[], $5::jsonb[], $6::text[], $7::bigint[],
    $8::int[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[], $13::text[],
    $14::timestamptz[], $15::timestamptz[])
"""

_UPDATE = """
UPDATE app.orders o
SET status = u.status, facts = string_to_array(u.facts, ','), reason = u.reason,
    detail = u.detail, payment_id = u.payment_id, version = u.version,
    timeline_seq = u.timeline_seq, ask_at = u.ask_at, asks = u.asks,
    settled_at = u.settled_at, updated_at = u.updated_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::bigint[],
            $8::int[], $9::timestamptz[], $10::int[], $11::timestamptz[], $12::timestamptz[])
    AS u (id, status, facts, reason, detail, payment_id, version, timeline_seq, ask_at, asks,
          settled_at, updated_at)
WHERE o.id = u.id AND o.id = ANY($1::uuid[])
"""

_INSERT_TIMELINE = """
INSERT INTO app.order_timeline
    (order_id, seq, event, from_status, to_status, at, message_id, detail)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[],
                     $6::timestamptz[], $7::uuid[], $8::text[])
"""


class Key(msgspec.Struct, frozen=True, order=True):
    """The identity that makes a POST safe to repeat (protocol I1)."""

    scope: str
    route: str
    key: str


class KeyRecord(msgspec.Struct, frozen=True):
    """What a key stands for, for as long as its order exists."""

    key: Key
    order_id: UUID
    request_hash: str
    response: bytes


# The winner of each key is decided here; a loser waits until the winner's commit or rollback.
_CLAIM_KEYS = """
INSERT INTO app.idempotency_keys
    (scope, route, key, order_id, request_hash, response, created_at)
SELECT u.scope, u.route, u.key, u.order_id, u.request_hash, u.response, $7
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[])
    AS u (scope, route, key, order_id, request_hash, response)
ORDER BY u.scope, u.route, u.key
ON CONFLICT (scope, route, key) DO NOTHING RETURNING order_id
"""

_READ_KEYS = """
SELECT k.scope, k.route, k.key, k.order_id, k.request_hash, k.response
FROM app.idempotency_keys k
JOIN unnest($1::text[], $2::text[], $3::text[]) AS u (scope, route, key) USING (scope, route, key)
WHERE k.scope = ANY($1) AND k.route = ANY($2) AND k.key = ANY($3)
"""


async def lock(transaction: Transaction, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """Those of these orders that exist, locked until the transaction ends."""
    rows = await transaction.fetch(_LOCK, sorted(order_ids))
    return {row["id"]: order_of(row) for row in rows}


async def lock_due(transaction: Transaction, now: datetime, limit: int) -> list[Order]:
    """At most `limit` unsettled orders whose next question is due, skipping locked ones."""
    return [order_of(row) for row in await transaction.fetch(_LOCK_DUE, now, limit)]


async def insert(transaction: Transaction, orders: Sequence[tuple[Order, Key]]) -> None:
    """Write new orders with the keys that placed them."""
    await transaction.execute(
        _INSERT,
        [order.id for order, _ in orders],
        [order.customer_id for order, _ in orders],
        [order.currency for order, _ in orders],
        [order.total_amount for order, _ in orders],
        [_encode(order.items).decode() for order, _ in orders],
        [order.progress.status for order, _ in orders],
        [order.version for order, _ in orders],
        [order.timeline_seq for order, _ in orders],
        [order.not_after for order, _ in orders],
        [order.ask_at for order, _ in orders],
        [key.scope for _, key in orders],
        [key.route for _, key in orders],
        [key.key for _, key in orders],
        [order.created_at for order, _ in orders],
        [order.updated_at for order, _ in orders],
    )


async def update(transaction: Transaction, orders: Sequence[Order]) -> None:
    """Write what may change in orders that are locked."""
    await transaction.execute(
        _UPDATE,
        [order.id for order in orders],
        [order.progress.status for order in orders],
        [",".join(sorted(order.progress.facts)) for order in orders],
        [order.progress.reason for order in orders],
        [order.progress.detail for order in orders],
        [order.payment_id for order in orders],
        [order.version for order in orders],
        [order.timeline_seq for order in orders],
        [order.ask_at for order in orders],
        [order.asks for order in orders],
        [order.settled_at for order in orders],
        [order.updated_at for order in orders],
    )


async def insert_timeline(transaction: Transaction, entries: Sequence[TimelineEntry]) -> None:
    """Append to the orders' timelines."""
    await transaction.execute(
        _INSERT_TIMELINE,
        [entry.order_id for entry in entries],
        [entry.seq for entry in entries],
        [entry.event for entry in entries],
        [entry.from_status for entry in entries],
        [entry.to_status for entry in entries],
        [entry.at for entry in entries],
        [entry.message_id for entry in entries],
        [entry.detail for entry in entries],
    )


async def claim_keys(
    transaction: Transaction, records: Sequence[KeyRecord], now: datetime
) -> set[UUID]:
    """Insert the records whose key is free; the order ids of those. Keys must be distinct."""
    rows = await transaction.fetch(
        _CLAIM_KEYS,
        [record.key.scope for record in records],
        [record.key.route for record in records],
        [record.key.key for record in records],
        [record.order_id for record in records],
        [record.request_hash for record in records],
        [record.response for record in records],
        now,
    )
    return {row["order_id"] for row in rows}


async def read_keys(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, KeyRecord]:
    """What these keys stand for. A statement of its own: it sees what a lost claim waited for."""
    rows = await transaction.fetch(
        _READ_KEYS,
        [key.scope for key in keys],
        [key.route for key in keys],
        [key.key for key in keys],
    )
    records = [
        KeyRecord(
            Key(row["scope"], row["route"], row["key"]),
            row["order_id"],
            row["request_hash"],
            row["response"],
        )
        for row in rows
    ]
    return {record.key: record for record in records}


def order_of(row: Row) -> Order:
    """An order from a row of COLUMNS."""
    return Order(
        id=row["id"],
        customer_id=row["customer_id"],
        currency=row["currency"],
        total_amount=row["total_amount"],
        items=_decode_lines(row["lines"]),
        progress=Progress(row["status"], frozenset(row["facts"]), row["reason"], row["detail"]),
        payment_id=row["payment_id"],
        version=row["version"],
        timeline_seq=row["timeline_seq"],
        not_after=row["not_after"],
        ask_at=row["ask_at"],
        asks=row["asks"],
        settled_at=row["settled_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )

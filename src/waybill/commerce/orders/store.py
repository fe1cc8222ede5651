"""SQL of orders, each one row with its timeline and idempotency key: one statement a batch.

`id = ANY($1)` stands in every statement beside `unnest`: the join alone may be planned on an empty
table, and then reads the whole of it for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from waybill.commerce.columns import column
from waybill.commerce.contracts import Line
from waybill.commerce.orders.domain import Order
from waybill.commerce.process import Progress
from waybill.commerce.tables import by_schema as tables
from waybill.commerce.timeline import StoredEntry, as_stored
from waybill.messaging.core.outbox_row import as_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from waybill.commerce.orders.ports import OrderStore
    from waybill.commerce.timeline import TimelineEntry
    from waybill.messaging.core.ports import Database, Row, Transaction

__all__ = ["lock", "lock_due", "place", "read_keys", "save", "save_asked", "tables"]

encode = msgspec.json.Encoder(decimal_format="number").encode
decode_lines = msgspec.json.Decoder(tuple[Line, ...]).decode

COLUMNS = """
    id, customer_id, currency, total_amount, lines, status, facts, reason, detail, payment_id,
    version, timeline_seq, not_after, ask_at, asks, settled_at, created_at, updated_at,
    particulars, correlation_id
"""

# The facts stand in the order's own row, and FOR UPDATE returns its newest version: lock and load
# cannot see two states, so they are one statement here (protocol C2).
_LOCK = f"SELECT {COLUMNS} FROM app.orders WHERE id = ANY($1) ORDER BY id FOR UPDATE"  # noqa: S608 - a constant

_LOCK_DUE = f"""
SELECT {COLUMNS} FROM app.orders WHERE settled_at IS NULL AND ask_at <= $1
ORDER BY ask_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant

# Every change brings its timeline entries, and the row has the others: they are only added to.
_SAVE = """
UPDATE app.orders o
SET status = u.status, facts = string_to_array(u.facts, ','), reason = u.reason,
    detail = u.detail, payment_id = u.payment_id, version = u.version,
    timeline_seq = u.timeline_seq, settled_at = u.settled_at, updated_at = u.updated_at,
    timeline = o.timeline || u.entries::jsonb
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[],
            $7::bigint[], $8::int[], $9::timestamptz[], $10::timestamptz[], $11::text[])
    AS u (id, status, facts, reason, detail, payment_id, version, timeline_seq, settled_at,
          updated_at, entries)
WHERE o.id = u.id AND o.id = ANY($1::uuid[])
"""

_SAVE_ASKED = """
UPDATE app.orders o SET version = u.version, asks = u.asks, ask_at = u.ask_at
FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::timestamptz[])
    AS u (id, version, asks, ask_at)
WHERE o.id = u.id AND o.id = ANY($1::uuid[])
"""

# Key and order are one row, so the winner of a key is whose row goes in. Rows go in by their keys,
# in one global order (protocol C3): a loser waits there until the winner's commit or rollback.
_PLACE = """
INSERT INTO app.orders
    (id, customer_id, currency, total_amount, lines, status, version, timeline_seq, timeline,
     not_after, ask_at, scope, route, idempotency_key, request_hash, response, created_at,
     updated_at, particulars, correlation_id)
SELECT u.id, u.customer_id, u.currency, u.total_amount, u.lines, $14, $16, 1,
       jsonb_build_array(jsonb_build_object(
           'seq', 1, 'event', $15::text, 'to_status', $14::text, 'at', u.created_at)),
       u.not_after, u.not_after, u.scope, u.route, u.key, u.request_hash, u.response, u.created_at,
       u.created_at, u.particulars::jsonb, u.correlation_id
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::uuid[],
    $8::text[], $9::numeric[], $10::jsonb[], $11::timestamptz[], $12::timestamptz[],
    $13::text[], $17::text[]
) AS u (id, scope, route, key, request_hash, response, customer_id, currency, total_amount,
        lines, created_at, not_after, particulars, correlation_id)
ORDER BY u.scope, u.route, u.key
ON CONFLICT (scope, route, idempotency_key) DO NOTHING RETURNING id
"""

_READ_KEYS = """
SELECT o.scope, o.route, o.idempotency_key AS key, o.id, o.request_hash, o.response
FROM app.orders o
JOIN unnest($1::text[], $2::text[], $3::text[]) AS u (scope, route, key)
    ON (u.scope, u.route, u.key) = (o.scope, o.route, o.idempotency_key)
WHERE o.scope = ANY($1) AND o.route = ANY($2) AND o.idempotency_key = ANY($3)
"""


_ANONYMOUS_RESPONSE = """
SELECT id, response FROM app.orders
WHERE scope = '' AND route = $1 AND idempotency_key = $2 AND request_hash = $3
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


async def lock(transaction: Transaction, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """Those of these orders that exist, locked until the transaction ends."""
    rows = await transaction.fetch(_LOCK, sorted(order_ids))
    return {row["id"]: order_of(row) for row in rows}


async def lock_due(transaction: Transaction, now: datetime, limit: int) -> list[Order]:
    """At most `limit` unsettled orders whose next question is due, skipping locked ones."""
    return [order_of(row) for row in await transaction.fetch(_LOCK_DUE, now, limit)]


async def place(
    transaction: Transaction,
    placed: Sequence[tuple[Order, KeyRecord]],
    first: TimelineEntry,
) -> set[UUID]:
    """Write new orders, with their keys and first entries, where the key is free; their ids.

    Keys must be distinct; the first entries are alike but for their order and time, and so are the
    orders' versions.
    """
    rows = await transaction.fetch(
        _PLACE,
        [order.id for order, _ in placed],
        [record.key.scope for _, record in placed],
        [record.key.route for _, record in placed],
        [record.key.key for _, record in placed],
        [record.request_hash for _, record in placed],
        [record.response for _, record in placed],
        [order.customer_id for order, _ in placed],
        [order.currency for order, _ in placed],
        [order.total_amount for order, _ in placed],
        [encode(order.items).decode() for order, _ in placed],
        [order.created_at for order, _ in placed],
        [order.not_after for order, _ in placed],
        column(order.particulars and order.particulars.decode() for order, _ in placed),
        first.to_status,
        first.event,
        placed[0][0].version,
        column(order.correlation_id for order, _ in placed),
    )
    return {row["id"] for row in rows}


async def anonymous_response(
    store: OrderStore, database: Database, route: str, key: str, request_hash: str
) -> tuple[UUID, bytes] | None:
    """Order and answer of this very request, before callers had names; None if it never came."""
    rows = await database.fetch(store.tables(_ANONYMOUS_RESPONSE), route, key, request_hash)
    return (as_uuid(rows[0]["id"]), bytes(rows[0]["response"])) if rows else None


async def save(
    transaction: Transaction, orders: Sequence[Order], entries: Sequence[TimelineEntry]
) -> None:
    """Write what facts changed in orders that are locked, and append to their timelines."""
    new = entries_of(orders, entries)
    await transaction.fetch_later(
        _SAVE,
        [order.id for order in orders],
        [order.progress.status for order in orders],
        [",".join(sorted(order.progress.facts)) for order in orders],
        column(order.progress.reason for order in orders),
        column(order.progress.detail for order in orders),
        column(order.payment_id for order in orders),
        [order.version for order in orders],
        [order.timeline_seq for order in orders],
        column(order.settled_at for order in orders),
        [order.updated_at for order in orders],
        [encode(new[order.id]).decode() for order in orders],
    )


async def save_asked(transaction: Transaction, orders: Sequence[Order]) -> None:
    """Write that locked orders were asked about, and when they are next."""
    await transaction.execute(
        _SAVE_ASKED,
        [order.id for order in orders],
        [order.version for order in orders],
        [order.asks for order in orders],
        [order.ask_at for order in orders],
    )


async def read_keys(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, KeyRecord]:
    """What these keys stand for. A statement of its own: it sees what a lost key waited for."""
    rows = await transaction.fetch(
        _READ_KEYS,
        [key.scope for key in keys],
        [key.route for key in keys],
        [key.key for key in keys],
    )
    records = [
        KeyRecord(
            Key(row["scope"], row["route"], row["key"]),
            row["id"],
            row["request_hash"],
            row["response"],
        )
        for row in rows
    ]
    return {record.key: record for record in records}


def entries_of(
    orders: Sequence[Order], entries: Sequence[TimelineEntry]
) -> dict[UUID, list[StoredEntry]]:
    """The new entries of each order, as they are stored."""
    new: dict[UUID, list[StoredEntry]] = {order.id: [] for order in orders}
    for each in entries:
        new[each.order_id].append(as_stored(each))
    return new


def first_entry(order: Order, first: TimelineEntry) -> StoredEntry:
    """Where an order begins, as it is stored."""
    return StoredEntry(seq=1, event=first.event, to_status=first.to_status, at=order.created_at)


def as_bytes(particulars: str | None) -> bytes | None:
    """As blueprints read them."""
    return None if particulars is None else particulars.encode()


def order_of(row: Row | Mapping[str | int, Any]) -> Order:
    """An order from a row of COLUMNS."""
    return Order(
        id=row["id"],
        customer_id=row["customer_id"],
        currency=row["currency"],
        total_amount=row["total_amount"],
        items=decode_lines(row["lines"]),
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
        particulars=as_bytes(row["particulars"]),
        correlation_id=row["correlation_id"],
    )

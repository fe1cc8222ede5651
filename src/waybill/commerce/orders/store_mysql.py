"""SQL of orders on MariaDB and MySQL: a constant of statements a batch, as in `store`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from waybill.commerce.orders import store
from waybill.commerce.orders.store import (
    COLUMNS,
    Key,
    KeyRecord,
    encode,
    entries_of,
    first_entry,
)
from waybill.commerce.tables import by_prefix as tables
from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.outbox_row import as_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from waybill.commerce.orders.domain import Order
    from waybill.commerce.timeline import TimelineEntry
    from waybill.messaging.core.ports import Row, Transaction

__all__ = ["lock", "lock_due", "place", "read_keys", "save", "save_asked", "tables"]

_NAMES = [name.strip() for name in COLUMNS.split(",")]
_FROM = f"SELECT {tables(COLUMNS)} FROM app_orders"  # noqa: S608 - constants

# FOR UPDATE reads the newest version of a row: lock and load are one statement (protocol C2).
_LOCK = f"{_FROM} WHERE id IN ($1) ORDER BY id FOR UPDATE"

_LOCK_DUE = f"""{_FROM}
WHERE settled_at IS NULL AND ask_at <= $1 ORDER BY ask_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""

# Every change brings its timeline entries, and the row has the others: they are only added to.
_SAVE = """
UPDATE app_orders AS o JOIN ($1) AS u ON u.id = o.id
SET o.status = u.status, o.facts = u.facts, o.reason = u.reason, o.detail = u.detail,
    o.payment_id = u.payment_id, o.version = u.version, o.timeline_seq = u.timeline_seq,
    o.settled_at = u.settled_at, o.updated_at = u.updated_at,
    o.timeline = json_merge_preserve(o.timeline, u.entries)
"""
_SAVED = """
id, status, facts, reason, detail, payment_id, version, timeline_seq, settled_at, updated_at,
entries
"""

_SAVE_ASKED = """
UPDATE app_orders AS o JOIN ($1) AS u ON u.id = o.id
SET o.version = u.version, o.asks = u.asks, o.ask_at = u.ask_at
"""

# Key and order are one row, so the winner of a key is whose row goes in. A loser waits for the
# winner's commit, and counts double: the number of rows says whether all are new.
_PLACE = """
INSERT INTO app_orders
    (id, customer_id, currency, total_amount, `lines`, status, facts, version, timeline_seq,
     timeline, not_after, ask_at, scope, route, idempotency_key, request_hash, response,
     created_at, updated_at, particulars, correlation_id)
VALUES $1 ON DUPLICATE KEY UPDATE repeats = repeats + 1
"""
_PLACED = "SELECT id FROM app_orders WHERE id IN ($1) AND repeats = 0"

_READ_KEYS = """
SELECT o.scope, o.route, o.idempotency_key, o.id, o.request_hash, o.response
FROM ($1) AS u STRAIGHT_JOIN app_orders AS o
    ON o.scope = u.scope AND o.route = u.route AND o.idempotency_key = u.name
"""


async def lock(transaction: Transaction, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """See OrderStore.lock."""
    orders = [_order(row) for row in await transaction.fetch(_LOCK, sorted(order_ids))]
    return {order.id: order for order in orders}


async def lock_due(transaction: Transaction, now: datetime, limit: int) -> list[Order]:
    """See OrderStore.lock_due."""
    return [_order(row) for row in await transaction.fetch(_LOCK_DUE, now, limit)]


async def place(
    transaction: Transaction, placed: Sequence[tuple[Order, KeyRecord]], first: TimelineEntry
) -> set[UUID]:
    """See OrderStore.place.

    Keys that are taken are left out before, so that a repeated request locks nobody's order.
    """
    taken = await read_keys(transaction, [record.key for _, record in placed])
    new = sorted((each for each in placed if each[1].key not in taken), key=_by_key)
    if not new:
        return set()
    ids = {order.id for order, _ in new}
    rows = [_row(order, record, first) for order, record in new]
    if await transaction.execute(_PLACE, rows) == len(rows):
        return ids
    return {UUID(bytes=row[0]) for row in await transaction.fetch(_PLACED, sorted(ids))}


async def save(
    transaction: Transaction, orders: Sequence[Order], entries: Sequence[TimelineEntry]
) -> None:
    """See OrderStore.save."""
    if not orders:
        return
    new = entries_of(orders, entries)
    rows = [
        (
            order.id, order.progress.status, ",".join(sorted(order.progress.facts)),
            order.progress.reason, order.progress.detail, order.payment_id, order.version,
            order.timeline_seq, order.settled_at, order.updated_at,
            encode(new[order.id]).decode(),
        )
        for order in orders
    ]  # fmt: skip
    await transaction.execute(_SAVE, Table(_SAVED, rows))


async def save_asked(transaction: Transaction, orders: Sequence[Order]) -> None:
    """See OrderStore.save_asked."""
    rows = [(order.id, order.version, order.asks, order.ask_at) for order in orders]
    await transaction.execute(_SAVE_ASKED, Table("id, version, asks, ask_at", rows))


async def read_keys(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, KeyRecord]:
    """See OrderStore.read_keys."""
    wanted = Table("scope, route, name", [(key.scope, key.route, key.key) for key in keys])
    records = [
        KeyRecord(Key(row[0], row[1], row[2]), UUID(bytes=row[3]), row[4], row[5])
        for row in await transaction.fetch(_READ_KEYS, wanted)
    ]
    return {record.key: record for record in records}


def _by_key(placed: tuple[Order, KeyRecord]) -> Key:
    return placed[1].key


def _row(order: Order, record: KeyRecord, first: TimelineEntry) -> tuple[object, ...]:
    key = record.key
    return (
        order.id, order.customer_id, order.currency, order.total_amount,
        encode(order.items).decode(), first.to_status, "", order.version, 1,
        encode([first_entry(order, first)]).decode(), order.not_after, order.not_after,
        key.scope, key.route, key.key, record.request_hash, record.response, order.created_at,
        order.created_at, order.particulars and order.particulars.decode(),
        order.correlation_id,
    )  # fmt: skip


def _order(row: Row) -> Order:
    """As on PostgreSQL, but for ids, which are bytes, and facts, which are one text."""
    named: dict[str | int, object] = {name: row[name] for name in _NAMES}
    for name in ("id", "customer_id", "payment_id"):
        named[name] = row[name] and as_uuid(row[name])
    named["facts"] = row["facts"].split(",") if row["facts"] else ()
    return store.order_of(named)

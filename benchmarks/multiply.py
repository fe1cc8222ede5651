"""Fills tables with as many finished orders as one likes, by copying some that were really placed.

The n-th copy of a row is the row moved into the past: its times, and the times within its UUIDv7
ids, are n steps earlier, in every database alike, so that what belonged together still does, and
ids ascend with time as they do in life. Every column is copied, whatever columns there are. The
outboxes are emptied, and their horizon says so, as if retention had dropped all their rows.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.cluster import connected, value
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import SIMULATOR

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

MARGIN_MILLISECONDS: Final = 5_000
WITHOUT_WAITING: Final = {"fsync": "off", "max_wal_size": "4GB", "autovacuum": "off"}
"""For filling only: what is filled is synced and started anew before anything is measured."""

MOVED: Final = """
CREATE FUNCTION pg_temp.moved(id uuid, milliseconds bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS
$$ SELECT (
    lpad(to_hex(
        (('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint - milliseconds)
        & 281474976710655
    ), 12, '0') || substr(replace(id::text, '-', ''), 13)
)::uuid $$
"""
MOVED_ENTRIES: Final = """
CREATE FUNCTION pg_temp.moved_entries(entries jsonb, milliseconds bigint) RETURNS jsonb
IMMUTABLE LANGUAGE sql AS
$$ SELECT coalesce(jsonb_agg(e.entry || jsonb_strip_nulls(jsonb_build_object(
    'at', (e.entry ->> 'at')::timestamptz - milliseconds * interval '1 millisecond',
    'message_id', pg_temp.moved((e.entry ->> 'message_id')::uuid, milliseconds)
)) ORDER BY e.place), '[]')
FROM jsonb_array_elements(entries) WITH ORDINALITY AS e (entry, place) $$
"""
COLUMNS: Final = """
SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = $1 AND table_name = $2 AND is_generated = 'NEVER' ORDER BY ordinal_position
"""
SPAN: Final = """
SELECT (extract(epoch FROM max(settled_at) - min(created_at)) * 1000)::bigint FROM app.orders
"""
STOCK: Final = """
UPDATE app.products AS p
SET available = l.available, reserved = l.reserved, sold = l.sold
FROM (
    SELECT product_id, sum(d_available) AS available, sum(d_reserved) AS reserved,
           sum(d_sold) AS sold
    FROM app.stock_ledger GROUP BY product_id
) AS l WHERE l.product_id = p.id
"""


FORGET: Final = """
DELETE FROM messaging.outbox;
UPDATE messaging.outbox_meta
SET horizon = (SELECT last_value + is_called::int FROM messaging.outbox_seq),
    horizon_at = clock_timestamp()
"""


@dataclass(frozen=True)
class Table:
    """A table whose rows belong to orders; `order` is the SQL of a row's order id."""

    name: str
    order: str = "order_id"


INBOX: Final = Table("messaging.inbox", "NULL::uuid")
DELIVERIES: Final = Table("messaging.deliveries", "split_part(key, ':', 1)::uuid")
TABLES: Final = {
    "order": (
        Table("app.orders", "id"),
        INBOX,
    ),
    "inventory": (Table("app.reservations"), INBOX),
    "payment": (Table("app.payment_answers"), DELIVERIES, INBOX),
    "notification": (DELIVERIES, INBOX),
    "provider": (Table("app.charges"),),
}
KEPT: Final = {"customer_id", "product_id", "consumer"}
"""The same in every copy."""
KEYS: Final = {"app.orders.idempotency_key"}
"""A client's own: anything, as long as each is another one."""
ENTRIES: Final = {"app.orders.timeline", "app.reservations.moves"}
"""Arrays of what happened, each with its time and its message's id."""


async def multiply(data: Path, copies: int) -> None:
    """Copy every order on these data so often; no platform may run on them."""
    async with EmbeddedPostgres(data, settings=WITHOUT_WAITING):
        step = int(await value(data, "order", SPAN)) + MARGIN_MILLISECONDS
        async with asyncio.TaskGroup() as group:
            for service in TABLES:
                group.create_task(_service(data, service, copies, step))


async def _service(data: Path, service: str, copies: int, step: int) -> None:
    async with connected(data, service) as connection:
        await connection.execute(MOVED)
        await connection.execute(MOVED_ENTRIES)
        for table in TABLES[service]:
            await _table(connection, table, copies, step)
        if service == "inventory":
            await connection.execute(STOCK)
        if service != SIMULATOR:
            await connection.execute(FORGET)
        await connection.execute("VACUUM (ANALYZE)")


async def _table(connection: asyncpg.Connection, table: Table, copies: int, step: int) -> None:
    schema, _, name = table.name.partition(".")
    columns = {row[0]: row[1] for row in await connection.fetch(COLUMNS, schema, name)}
    await connection.execute(
        f"CREATE TEMP TABLE source AS SELECT *, {table.order} AS of_order FROM {table.name}"  # noqa: S608 - constants
    )
    values = [_copied(table, column, kind, step) for column, kind in columns.items()]
    insert = (
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(values)} FROM source"  # noqa: S608 - as above
    )
    # oldest first, as they would have come
    await connection.executemany(insert, [(n,) for n in range(copies, 0, -1)])
    await connection.execute("DROP TABLE source")


def _copied(table: Table, column: str, kind: str, step: int) -> str:
    """The SQL of a column's value in the copy whose number is $1."""
    by = f"($1::bigint * {step})"
    if column in KEPT:
        return column
    if f"{table.name}.{column}" in KEYS:
        return f"md5({column} || ':' || $1::bigint)"
    if f"{table.name}.{column}" in ENTRIES:
        return f"pg_temp.moved_entries({column}, {by})"
    named = f"of_order::text, pg_temp.moved(of_order, {by})::text"
    text = column if table is INBOX else f"replace({column}, {named})"
    json = f"replace(convert_from({column}, 'UTF8'), {named})"
    payment = f"(convert_from({column}, 'UTF8')::jsonb ->> 'paymentId')"
    paid = f"replace({json}, {payment}, pg_temp.moved({payment}::uuid, {by})::text)"
    return {
        "uuid": f"pg_temp.moved({column}, {by})",
        "timestamp with time zone": f"{column} - {by} * interval '1 millisecond'",
        "text": text,
        "character varying": text,
        "bytea": f"convert_to(coalesce({paid}, {json}), 'UTF8')",
    }.get(kind, column)

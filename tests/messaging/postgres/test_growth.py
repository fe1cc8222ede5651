"""A large outbox under a snapshot that somebody holds open: a page costs what it always did.

Counted in buffers and dead rows, never by the clock; the clock is the benchmarks' (R13).
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.messaging.adapters.postgres import outbox_rows, relay_store
from waybill.messaging.adapters.postgres.backlog import unread_rows
from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.source import SESSION
from waybill.messaging.core import outbox_row
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LANES = list(range(ALL_LANES))
PAGE_ROWS = 500
TAIL_ROWS = 400
"""Of the newest rows, which nobody has read."""
FEW_BUFFERS = 2 * ALL_LANES
"""An index over a million rows has a level more; each lane goes down through it, perhaps twice."""
MOVES = 1_000
"""Of a lane's position, while the snapshot is held: each leaves a dead version."""

FILL = """
INSERT INTO messaging.outbox (
    seq, lane, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id,
    producer, headers, occurred_at
)
SELECT nextval('messaging.outbox_seq'), n % 16, gen_random_uuid(), 'Order', n::text, 'T', '\\x7b7d',
       1, 't', n::text, 'p', '{}', now()
FROM generate_series(1, $1::int) AS n
"""
ENDS = """
SELECT array_agg(coalesce((
    SELECT seq FROM messaging.outbox AS o WHERE o.lane = l.lane ORDER BY seq DESC LIMIT 1
), 0) ORDER BY l.lane) FROM generate_series(0, 16) AS l (lane)
"""
DEAD = """
SELECT coalesce(sum(n_tup_upd + n_tup_del), 0)::int FROM pg_stat_all_tables
JOIN pg_inherits ON inhrelid = relid WHERE inhparent = 'messaging.outbox'::regclass
"""
TAKE = "UPDATE messaging.outbox_lane SET token = $1, lease_until = now() + interval '1 day'"


@asynccontextmanager
async def held_snapshot(url: str) -> AsyncIterator[None]:
    """Somebody's transaction that sees the database as it is now, for as long as the block runs."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetch("SELECT FROM messaging.outbox_lane")
            yield
    finally:
        await connection.close()


async def buffers(connection: asyncpg.Connection, statement: str, *arguments: object) -> int:
    """Pages that the statement looked at."""
    explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    await connection.fetch(explained, *arguments)  # the first one sets hint bits
    (plan,) = json.loads(await connection.fetchval(explained, *arguments))
    found = plan["Plan"]
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


async def costs(connection: asyncpg.Connection, positions: list[int]) -> dict[str, int]:
    """Of what a reader and a relay ask in each turn, from these positions on."""
    limits = (PAGE_ROWS, outbox_row.VALUE_BYTES_MAX, outbox_row.BATCH_BYTES_MAX)
    every_topic = True
    return {
        "reader": await buffers(connection, outbox_rows.FETCH, LANES, positions, ["t"], *limits),
        "relay": await buffers(
            connection, outbox_rows.PAGE, LANES, positions, every_topic, *limits
        ),
    }


@pytest.mark.parametrize("rows", [50_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_a_large_outbox_under_a_held_snapshot_is_read_as_a_small_one(
    messaging_database: str, rows: int
) -> None:
    """R13, pitfall B15: the outbox has no dead rows, and a page no more pages than the first."""
    writer = await PostgresDatabase.connect(messaging_database)
    reader = await asyncpg.connect(messaging_database, server_settings=SESSION)
    try:
        await writer.fetch("SELECT * FROM messaging.register_reader('c', ARRAY['t'], NULL)")
        nothing = [0] * ALL_LANES
        await writer.fetch(FILL, TAIL_ROWS)
        small = await costs(reader, nothing)
        async with held_snapshot(messaging_database):
            await writer.fetch(FILL, rows)
            positions = list((await writer.fetch(ENDS))[0][0])
            await writer.fetch(FILL, TAIL_ROWS)
            await move(writer, positions)
            large = await costs(reader, positions)
            for who, cost in large.items():
                assert cost <= small[who] + FEW_BUFFERS, (who, small, large)
            assert await unread_rows(writer, count_max=2 * TAIL_ROWS) == TAIL_ROWS
            assert (await writer.fetch(DEAD))[0][0] == 0
    finally:
        await reader.close()
        await writer.close()


async def move(database: PostgresDatabase, positions: list[int]) -> None:
    """Move one lane's position again and again, up to these; report them as read."""
    token = new_id()
    await database.fetch(TAKE, token)
    alone = True  # nothing is held with them
    for step in range(MOVES, 0, -1):
        behind = max(1, positions[0] - step)
        await database.fetch(relay_store._ADVANCE, token, [0], [behind], alone)
    moved = await database.fetch(relay_store._ADVANCE, token, LANES, positions, alone)
    assert len(moved) == ALL_LANES - 1, "the lane of dead letters has none"
    await database.fetch("SELECT messaging.report_positions('c', $1)", positions)

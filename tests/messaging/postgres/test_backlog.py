"""What of an outbox waits for its first reader, counted cheaply (protocol I5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.backlog import (
    BOUND,
    COUNT,
    INDEX_ONLY,
    unread_rows,
)
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.core.lanes import ALL_LANES, lane_of
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from waybill.messaging.adapters.postgres.connection import PostgresDatabase

KEYS = [str(number) for number in range(40)]
"""They fall into most of the lanes."""


async def publish(database: PostgresDatabase, *keys: str) -> None:
    """Append a message for each key."""
    async with database.transaction() as transaction:
        PostgresOutbox().append(transaction, [a_message(key) for key in keys])


async def reader(database: PostgresDatabase, name: str, *, read_all: bool) -> None:
    """Register (again) at the beginning, or behind all that there is."""
    rows = await database.fetch("SELECT lane, max(seq) FROM messaging.outbox GROUP BY lane")
    ends = {row[0]: row[1] for row in rows} if read_all else {}
    positions = [ends.get(lane, 0) for lane in range(ALL_LANES)]
    await database.fetch(
        "SELECT * FROM messaging.register_reader($1, ARRAY['t'], $2)", name, positions
    )


async def test_i5_rows_count_until_the_first_reader_has_passed_them(
    database: PostgresDatabase,
) -> None:
    """Protocol I5: exactly at the limit, whatever lanes they stand in."""
    await reader(database, "a", read_all=False)
    assert await unread_rows(database, count_max=5) == 0
    await publish(database, *KEYS)
    assert await unread_rows(database, count_max=41) == 40
    assert await unread_rows(database, count_max=40) == 40
    assert await unread_rows(database, count_max=39) == 39, "counted no further"
    await reader(database, "a", read_all=True)
    assert await unread_rows(database, count_max=39) == 0
    await publish(database, *KEYS[:3])
    assert await unread_rows(database, count_max=3) == 3


async def test_i5_a_reader_that_lags_behind_another_does_not_count(
    database: PostgresDatabase,
) -> None:
    """Protocol I5, D4: it only holds retention back; a silent one must not close the intake."""
    await publish(database, *KEYS)
    await reader(database, "silent", read_all=False)
    await reader(database, "well", read_all=True)
    assert await unread_rows(database, count_max=1) == 0
    await publish(database, "x")
    assert await unread_rows(database, count_max=1) == 1


async def test_i5_without_a_reader_nothing_waits(database: PostgresDatabase) -> None:
    """Protocol I5: rows that are kept for nobody are the retention's business."""
    await publish(database, *KEYS)
    assert await unread_rows(database, count_max=1) == 0


async def test_i5_a_lane_that_was_idle_for_long_does_not_count_its_neighbours_rows(
    database: PostgresDatabase,
) -> None:
    """Protocol I5: one unread row behind an old position is one row, if that matters."""
    busy = [key for key in KEYS if lane_of(key) != lane_of("idle")]
    await publish(database, "idle")
    await reader(database, "a", read_all=True)
    await publish(database, "idle")
    await publish(database, *busy)
    positions = await database.fetch("SELECT positions FROM messaging.outbox_reader")
    await reader(database, "a", read_all=True)
    moved = list((await database.fetch("SELECT positions FROM messaging.outbox_reader"))[0][0])
    moved[lane_of("idle")] = positions[0][0][lane_of("idle")]
    await database.fetch("SELECT * FROM messaging.report_positions('a', $1)", moved)
    assert await unread_rows(database, count_max=2) == 1


async def test_i5_the_look_goes_through_the_index_alone(database: PostgresDatabase) -> None:
    """Protocol I5: a plan that is made on an empty table is right for a full one."""
    await reader(database, "a", read_all=False)
    async with database.transaction() as transaction:
        await transaction.fetch(INDEX_ONLY)
        for statement in (BOUND, COUNT.replace("$1", "1000")):
            rows = await transaction.fetch(f"EXPLAIN {statement}")
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan on outbox_1 " not in plan
            assert "using outbox_1_lane_seq" in plan

"""Six weeks of an outbox and its inbox, day by day: bounded, and nothing goes that is needed.

Retention takes the day as an argument; rows are back-dated to the day on which they are written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.inbox import PostgresInbox, purge_inbox
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.partitions import SPARE_PARTITIONS, partitions
from waybill.messaging.adapters.postgres.upkeep import OutboxUpkeep, UpkeepSettings
from waybill.messaging.core.identity import UuidFactory
from waybill.messaging.core.lanes import ALL_LANES, lane_of
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAYS = 42
ROWS_A_DAY = 20
PARTITION_ROWS = 10
RETENTION_DAYS = 7
INBOX_DAYS = 30
DAY_SECONDS = 86_400.0
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = 3_000_000
KEYS = [f"key {number}" for number in range(5)]
LANES = sorted({lane_of(key) for key in KEYS})
AWAY = range(12, 24)
"""Days on which a reader, or the relay, stands still."""

HOLD = """
INSERT INTO messaging.outbox_held (
    lane, seq, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id,
    producer, headers, occurred_at, created_at, state, reason
)
SELECT lane, seq, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id,
       producer, headers, occurred_at, created_at, 'HELD', 'too large'
FROM messaging.outbox ORDER BY seq LIMIT 3
"""


@dataclass
class Outbox:
    """An outbox as it should be: on which day each seq was written, in which lane."""

    database: PostgresDatabase
    upkeep: OutboxUpkeep
    written: dict[int, tuple[int, datetime]] = field(default_factory=dict)

    async def write(self, day: datetime) -> None:
        """A day's messages."""
        async with self.database.transaction() as transaction:
            PostgresOutbox().append(
                transaction, [a_message(KEYS[n % len(KEYS)]) for n in range(ROWS_A_DAY)]
            )
        rows = await self.database.fetch(
            "UPDATE messaging.outbox SET created_at = $1 WHERE created_at > $1"
            " AND seq > $2 RETURNING seq, lane",
            day,
            max(self.written, default=FIRST),
        )
        self.written |= {row["seq"]: (row["lane"], day) for row in rows}

    async def keep(self, day: datetime) -> set[int]:
        """A turn of upkeep on that day; the seqs that it dropped."""
        await self.upkeep.turn(day)
        rows = await self.database.fetch("SELECT seq FROM messaging.outbox")
        dropped = set(self.written) - {row["seq"] for row in rows}
        for seq in dropped:
            self.written.pop(seq)
        return dropped

    def ends(self) -> list[int]:
        """The last seq of each lane."""
        found = [FIRST] * ALL_LANES
        for seq, (lane, _) in self.written.items():
            found[lane] = max(found[lane], seq)
        return found


@pytest.fixture
async def outbox(messaging_database: str) -> AsyncIterator[Outbox]:
    """Whose sequence stands before three empty partitions of ten rows."""
    database = await PostgresDatabase.connect(messaging_database)
    settings = UpkeepSettings(
        outbox_partition_rows=PARTITION_ROWS,
        outbox_retention_seconds=RETENTION_DAYS * DAY_SECONDS,
    )
    upkeep = OutboxUpkeep(messaging_database, settings)
    for drawn in (FIRST, FIRST + 1):
        await database.fetch("SELECT setval('messaging.outbox_seq', $1)", drawn)
        await upkeep.turn(BEGAN)
    await database.fetch("SELECT setval('messaging.outbox_seq', $1)", FIRST)
    yield Outbox(database, upkeep)
    await database.close()


async def reads_to(outbox: Outbox, consumer: str, positions: list[int]) -> None:
    """The consumer has read that far."""
    statement = "SELECT * FROM messaging.register_reader($1, ARRAY['t'], $2)"
    await outbox.database.fetch(statement, consumer, positions)


async def sent_to(outbox: Outbox, positions: list[int]) -> None:
    """The relay has sent that far."""
    statement = "UPDATE messaging.outbox_lane SET position = $2 WHERE lane = $1"
    for lane, position in enumerate(positions):
        await outbox.database.fetch(statement, lane, position)


async def simulate(outbox: Outbox, *, relay: bool) -> dict[int, int]:
    """Six weeks in which one of two readers, or the relay, is away for twelve days.

    Partitions by day. Every day's drops are checked against what somebody still needed.
    """
    if relay:
        await outbox.database.fetch("UPDATE messaging.outbox_meta SET mode = 'relay'")
    partitions_on = {}
    kept_for = {"somebody": [FIRST] * ALL_LANES}
    for number in range(DAYS):
        day = BEGAN + timedelta(days=number)
        await outbox.write(day)
        ends = outbox.ends()
        if number not in AWAY:
            kept_for["somebody"] = ends
        if relay:
            await sent_to(outbox, kept_for["somebody"])
        else:
            await reads_to(outbox, "quick", ends)
            await reads_to(outbox, "slow", kept_for["somebody"])
        known = dict(outbox.written)
        for seq in await outbox.keep(day):
            lane, written = known[seq]
            assert day - written >= timedelta(days=RETENTION_DAYS), "younger than the retention"
            assert seq <= kept_for["somebody"][lane], "not read, or not sent"
        partitions_on[number] = len(await partitions(outbox.database))
    return partitions_on


BOUND = (RETENTION_DAYS + 1) * ROWS_A_DAY // PARTITION_ROWS + SPARE_PARTITIONS + 2


@pytest.mark.parametrize("relay", [False, True], ids=["direct", "relay"])
async def test_d5_six_weeks_stay_bounded_and_lose_nothing(outbox: Outbox, *, relay: bool) -> None:
    """Protocol D5, O6: only what is old, read by all and sent goes; who comes back finds all."""
    partitions_on = await simulate(outbox, relay=relay)
    well = [partitions_on[day] for day in partitions_on if day not in AWAY]
    assert max(well) <= BOUND
    assert max(partitions_on[day] for day in AWAY) > BOUND, "it was waited for"
    assert partitions_on[DAYS - 1] <= BOUND, "and went on"
    assert len(outbox.written) <= BOUND * PARTITION_ROWS


async def test_l4_held_records_outlive_every_retention(outbox: Outbox) -> None:
    """Protocol L4, O6: they live apart, so their rows go and they stay until a verdict."""
    await outbox.database.fetch("UPDATE messaging.outbox_meta SET mode = 'relay'")
    await outbox.write(BEGAN)
    await outbox.database.fetch(HOLD)
    await outbox.keep(BEGAN)
    await outbox.write(BEGAN)
    await sent_to(outbox, outbox.ends())
    assert len(await outbox.keep(BEGAN + timedelta(days=DAYS))) >= ROWS_A_DAY
    (row,) = await outbox.database.fetch("SELECT count(*) FROM messaging.outbox_held")
    assert row[0] == 3


async def test_c12_an_inbox_of_weeks_keeps_what_a_source_may_send_again(outbox: Outbox) -> None:
    """Protocol C12, D5: a month of rows, and whatever a source has not let go yet."""
    database, new_id = outbox.database, UuidFactory()
    aged = "UPDATE messaging.inbox SET processed_at = $2 WHERE message_id = ANY ($1)"
    moved = "UPDATE messaging.consumer_source SET horizon_at = $2 WHERE source = $1"
    await database.fetch(SOURCES, BEGAN)
    rows = list[int]()
    for number in range(2 * DAYS):
        day = BEGAN + timedelta(days=number)
        ids = [new_id() for _ in range(ROWS_A_DAY)]
        async with database.transaction() as transaction:
            await PostgresInbox().claim(transaction, "c", ids)
            await transaction.execute(aged, ids, day)
        horizon = max(BEGAN, day - timedelta(days=RETENTION_DAYS))
        await database.fetch(moved, "quick", horizon)
        if number not in STANDS_STILL:
            await database.fetch(moved, "slow", horizon)
        await purge_inbox(database, INBOX_DAYS * DAY_SECONDS, now=day)
        (kept,) = await database.fetch(KEPT)
        assert kept["oldest"] <= kept["horizon"], "a source could still send it"
        rows.append(kept["rows"])
    bound = (INBOX_DAYS + 1) * ROWS_A_DAY
    assert max(rows[: STANDS_STILL.start]) <= bound
    assert max(rows) > bound, "it was waited for"
    assert rows[-1] == rows[-2] <= bound, "it grows no more"


STANDS_STILL = range(20, 70)
SOURCES = """
INSERT INTO messaging.consumer_source (consumer, source, horizon_at)
VALUES ('c', 'quick', $1), ('c', 'slow', $1)
"""
KEPT = """
SELECT count(*) AS rows, min(processed_at) AS oldest,
       (SELECT min(horizon_at) FROM messaging.consumer_source) AS horizon
FROM messaging.inbox
"""

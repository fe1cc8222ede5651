"""Upkeep of the outbox's partitions: protocol O1, O6, D5."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.partitions import (
    SPARE_PARTITIONS,
    Partition,
    partitions,
    spare_partitions,
)
from waybill.messaging.adapters.postgres.upkeep import (
    OutboxUpkeep,
    UpkeepSettings,
    UpkeepTurn,
    detach,
)
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.lanes import ALL_LANES, lane_of
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.testing.contracts.outbox import Reader

ROWS = 10
FEW_SECONDS = 20.0


@pytest.fixture
async def database(messaging_database: str) -> AsyncIterator[PostgresDatabase]:
    """A database whose sequence stands before three empty partitions of ten rows."""
    opened = await PostgresDatabase.connect(messaging_database)
    for drawn in (3_000_000, 3_000_001):
        await opened.fetch("SELECT setval('messaging.outbox_seq', $1)", drawn)
        await upkeep(messaging_database).turn()
    await opened.fetch("SELECT setval('messaging.outbox_seq', 3000000)")
    yield opened
    await opened.close()


@pytest.fixture
async def second(messaging_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that gets in the way."""
    connection = await asyncpg.connect(messaging_database)
    yield connection
    await connection.close()


def upkeep(url: str, retention_seconds: float = 0.0) -> OutboxUpkeep:
    """With small partitions."""
    return OutboxUpkeep(
        url,
        UpkeepSettings(
            outbox_partition_rows=ROWS,
            outbox_retention_seconds=retention_seconds,
            lock_timeout_seconds=0.2,
        ),
    )


async def publish(database: PostgresDatabase, count: int, key: str = "k") -> None:
    """Append messages of one key."""
    async with database.transaction() as transaction:
        PostgresOutbox().append(transaction, [a_message(key) for _ in range(count)])


async def register(database: PostgresDatabase, consumer: str, positions: Any) -> Any:  # noqa: ANN401 - rows
    """As a reader does; positions None, one for all lanes, or an array."""
    if isinstance(positions, int):
        positions = [positions] * ALL_LANES
    rows = await database.fetch(
        "SELECT * FROM messaging.register_reader($1, ARRAY['t'], $2)", consumer, positions
    )
    return rows[0]


async def seqs(database: PostgresDatabase) -> list[int]:
    """Every seq that a reader sees."""
    return [row[0] for row in await database.fetch("SELECT seq FROM messaging.outbox ORDER BY 1")]


async def meta(database: PostgresDatabase) -> Any:  # noqa: ANN401 - a row
    """The meta row."""
    return (await database.fetch("SELECT * FROM messaging.outbox_meta"))[0]


async def test_d4_a_reader_that_fell_silent_is_alarmed_once(
    database: PostgresDatabase, messaging_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Protocol D4: silent for a day it holds back retention, so an operator is told."""
    caplog.set_level(logging.INFO)
    await register(database, "well", 0)
    await register(database, "gone", 0)
    await database.fetch(
        "UPDATE messaging.outbox_reader SET seen_at = now() - interval '25 hours' "
        "WHERE consumer = 'gone'"
    )
    keeper = upkeep(messaging_database)
    for _ in range(2):
        (alarm,) = (await keeper.turn()).alarms
        assert alarm.startswith("gone was silent for more than a day")
    assert caplog.text.count("consumers forget gone") == 1
    await register(database, "gone", 0)
    assert (await keeper.turn()).alarms == ()
    assert "no longer: gone was silent" in caplog.text


async def test_e4_an_old_transaction_is_alarmed(
    database: PostgresDatabase, messaging_database: str, second: asyncpg.Connection
) -> None:
    """Protocol E4: whoever holds it, it is named, and only while it is open."""
    keeper = OutboxUpkeep(
        messaging_database,
        UpkeepSettings(outbox_partition_rows=ROWS, transaction_seconds_max=0.0),
    )
    assert (await keeper.turn()).alarms == ()
    pid = second.get_server_pid()
    transaction = second.transaction()
    await transaction.start()
    await second.execute("SELECT 1")
    (alarm,) = (await keeper.turn()).alarms
    assert alarm.startswith(f"a transaction of process {pid} ")
    assert (await upkeep(messaging_database).turn()).alarms == (), "five minutes are allowed"
    await transaction.rollback()
    assert (await keeper.turn()).alarms == ()
    await database.fetch("SELECT 1")


async def test_two_spare_partitions_stay_ahead(
    database: PostgresDatabase, messaging_database: str
) -> None:
    """Protocol O1: whatever was written, two empty partitions wait ahead after a turn."""
    for _ in range(4):
        await publish(database, 15)
        await upkeep(messaging_database, 3600).turn()
        assert await spare_partitions(database) == SPARE_PARTITIONS
    bounds = [(found.lower, found.upper) for found in await partitions(database)]
    assert all(left[1] == right[0] for left, right in pairwise(bounds))


async def test_readiness_counts_used_spares(database: PostgresDatabase) -> None:
    """Protocol O1: without upkeep the spare partitions run out, and it can be seen."""
    await publish(database, 11)
    assert await spare_partitions(database) == 1
    await publish(database, 10)
    assert await spare_partitions(database) == 0


async def test_missing_partition_is_an_outage(database: PostgresDatabase) -> None:
    """Protocol C6: a row that fits no partition is a fault of the set-up, never of the message."""
    with pytest.raises(TransientError, match="23514"):
        await publish(database, 31)


async def test_read_partitions_go_and_the_horizon_follows(
    database: PostgresDatabase, messaging_database: str
) -> None:
    """Protocol O6: partitions that every reader has passed are dropped, the horizon is recorded."""
    await register(database, "c", 3_000_000)
    await publish(database, 25)
    await register(database, "c", 3_000_025)
    turn = await upkeep(messaging_database).turn()
    assert turn.dropped == 2
    assert await seqs(database) == list(range(3_000_021, 3_000_026))
    row = await meta(database)
    assert (row["horizon"], row["detaching"]) == (3_000_021, None)
    fresh = await register(database, "new", None)
    assert (fresh["known"], fresh["horizon"], set(fresh["positions"])) == (
        False,
        3_000_021,
        {3_000_020},
    )


async def test_slow_reader_holds_rows_back(
    database: PostgresDatabase, messaging_database: str
) -> None:
    """Protocol D5: a partition with one row above one reader's position stays, and it says who."""
    await register(database, "quick", 3_000_000)
    await register(database, "slow", 3_000_000)
    await publish(database, 25)
    await register(database, "quick", 3_000_025)
    await register(database, "slow", 3_000_019)
    turn = await upkeep(messaging_database).turn()
    assert turn == UpkeepTurn(created=2, dropped=1, waiting_for=("slow",))
    assert (await seqs(database))[0] == 3_000_011


async def test_idle_lane_holds_nothing_back(
    database: PostgresDatabase, messaging_database: str
) -> None:
    """Protocol D5: a lane without rows never moves its position, and does not stop retention."""
    await register(database, "c", 3_000_000)
    await publish(database, 12)
    positions = [3_000_000] * ALL_LANES
    positions[lane_of("k")] = 3_000_012
    await register(database, "c", positions)
    assert (await upkeep(messaging_database).turn()).dropped == 1


async def test_young_rows_stay(database: PostgresDatabase, messaging_database: str) -> None:
    """A partition with a row inside the retention stays, though every reader has passed it."""
    await publish(database, 25)
    assert (await upkeep(messaging_database, retention_seconds=3600).turn()).dropped == 0
    assert len(await seqs(database)) == 25


async def test_rewind_below_a_drop_in_progress_waits(
    database: PostgresDatabase, messaging_database: str, second: asyncpg.Connection
) -> None:
    """Protocol O6: nobody may register below a partition that is out of sight.

    New readers start behind it, those who have passed it go on.
    """
    await register(database, "c", 3_000_012)
    await publish(database, 12)
    keeper = upkeep(messaging_database)
    partition = (await partitions(second))[0]
    assert await keeper._mark(second, partition) == (True, ())
    await detach(second, partition)
    with pytest.raises(TransientError, match="register again"):
        await register(database, "c", 3_000_003)
    with pytest.raises(TransientError, match="register again"):
        await register(database, "unknown", 3_000_003)
    assert (await register(database, "c", 3_000_012))["known"]
    assert set((await register(database, "new", None))["positions"]) == {3_000_010}
    assert (await keeper.turn()).dropped == 1


async def test_reader_that_fell_back_gets_its_rows_again(
    database: PostgresDatabase, messaging_database: str, second: asyncpg.Connection
) -> None:
    """Protocol O6: D5 is checked again after the detach; if it fails the partition comes back."""
    await register(database, "c", 3_000_012)
    await publish(database, 12)
    keeper = upkeep(messaging_database)
    partition = (await partitions(second))[0]
    await keeper._mark(second, partition)
    await detach(second, partition)
    await database.fetch("SELECT messaging.report_positions('c', array_fill(3000004, ARRAY[17]))")
    assert (await keeper.turn()).dropped == 0
    assert len(await seqs(database)) == 12
    row = await meta(database)
    assert (row["horizon"], row["detaching"]) == (3_000_001, None)
    await register(database, "c", 3_000_012)
    assert (await keeper.turn()).dropped == 1


async def test_dump_delays_the_drop_and_stops_no_insert(
    database: PostgresDatabase, messaging_database: str, second: asyncpg.Connection
) -> None:
    """Protocol O6: behind a long transaction the detach stays pending, and appending goes on.

    A later turn finalizes it.
    """
    await publish(database, 25)
    keeper = upkeep(messaging_database)
    async with second.transaction():
        await second.fetch("SELECT FROM messaging.outbox")
        assert (await keeper.turn()).busy
        assert (await partitions(database))[0].pending
        await publish(database, 3)
        assert (await keeper.turn()).busy
        await publish(database, 1)
    assert (await keeper.turn()).dropped == 2
    assert await seqs(database) == list(range(3_000_021, 3_000_030))


async def test_interrupted_turns_are_taken_up(
    database: PostgresDatabase, messaging_database: str, second: asyncpg.Connection
) -> None:
    """A turn that died after its mark, or after its detach, leaves nothing behind."""
    await publish(database, 25)
    keeper = upkeep(messaging_database)
    first: Partition = (await partitions(second))[0]
    await keeper._mark(second, first)
    assert (await keeper.turn()).dropped == 2
    assert (await meta(database))["detaching"] is None


async def test_two_keepers_take_turns(
    database: PostgresDatabase, messaging_database: str, second: asyncpg.Connection
) -> None:
    """While one session keeps the outbox up, another one's turn does nothing."""
    await publish(database, 25)
    await second.fetch("SELECT pg_advisory_lock(1462846542)")
    assert await upkeep(messaging_database).turn() == UpkeepTurn(busy=True)
    assert len(await seqs(database)) == 25


async def test_upkeep_under_load_loses_nothing(
    database: PostgresDatabase, messaging_database: str, read: Reader
) -> None:
    """Protocol O6, D5: while partitions come and go, units commit and the reader misses none."""
    lane, seen, position = lane_of("k"), list[int](), 3_000_000
    keeper = upkeep(messaging_database)
    await register(database, "c", position)

    async def writing() -> None:
        for version in range(1, 201):
            async with database.transaction() as transaction:
                PostgresOutbox().append(transaction, [a_message("k", version=version)])
            if version % 5 == 0:
                await keeper.turn()

    async with asyncio.timeout(FEW_SECONDS):
        writer = asyncio.ensure_future(writing())
        while not writer.done() or len(seen) < 200:
            for record in await read(lane, position, 50):
                seen.append(record.message.version)
                position = record.seq
            positions = [position if n == lane else 3_000_000 for n in range(ALL_LANES)]
            await database.fetch("SELECT messaging.report_positions('c', $1)", positions)
            if writer.done():
                writer.result()
    assert seen == list(range(1, 201))
    await keeper.turn()
    assert (await meta(database))["horizon"] > 3_000_150


async def test_creating_spares_waits_for_no_writer(
    database: PostgresDatabase, messaging_database: str
) -> None:
    """Partitions are added while a unit holds its flush open."""
    async with database.transaction() as transaction:
        await transaction.execute("LOCK messaging.outbox IN ROW EXCLUSIVE MODE")
        await database.fetch("SELECT setval('messaging.outbox_seq', 3000015)")
        assert (await upkeep(messaging_database, 3600).turn()).created == 1

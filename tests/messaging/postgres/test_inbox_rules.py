"""The inbox on PostgreSQL: one statement a claim, and a purge that forgets nothing too early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.inbox import CLAIM, PostgresInbox, purge_inbox
from waybill.messaging.core.identity import UuidFactory

if TYPE_CHECKING:
    from waybill.messaging.adapters.postgres.connection import PostgresDatabase

new_id = UuidFactory()
DAY = 86_400.0


async def claim(database: PostgresDatabase, count: int, *, days_ago: int = 0) -> None:
    """Rows of the inbox that are so old."""
    async with database.transaction() as transaction:
        ids = [new_id() for _ in range(count)]
        assert await PostgresInbox().claim(transaction, "c", ids) == set(ids)
        await transaction.execute(
            "UPDATE messaging.inbox SET processed_at = processed_at - make_interval(days => $1)"
            " WHERE message_id = ANY ($2)",
            days_ago,
            ids,
        )


async def left(database: PostgresDatabase) -> int:
    """How many rows there are."""
    return int((await database.fetch("SELECT count(*) FROM messaging.inbox"))[0][0])


async def test_purge_takes_what_is_beyond_the_retention(database: PostgresDatabase) -> None:
    """Protocol C12: rows go by age, in pages, and younger ones stay."""
    await claim(database, 7, days_ago=40)
    await claim(database, 3, days_ago=20)
    assert await purge_inbox(database, 30 * DAY, page_rows=2) == 7
    assert await left(database) == 3
    assert await purge_inbox(database, 30 * DAY) == 0


async def test_purge_waits_for_every_source(database: PostgresDatabase) -> None:
    """Protocol D5: while a source retains older messages their inbox rows stay, whatever the age.

    Else a rewind would apply them twice.
    """
    await claim(database, 4, days_ago=40)
    source = (
        "INSERT INTO messaging.consumer_source (consumer, source, horizon_at)"
        " VALUES ('c', $1, now() - make_interval(days => $2))"
    )
    await database.fetch(source, "orders", 10)
    await database.fetch(source, "payments", 60)
    assert await purge_inbox(database, 30 * DAY) == 0
    await database.fetch("UPDATE messaging.consumer_source SET horizon_at = now()")
    assert await purge_inbox(database, 30 * DAY) == 4


async def test_on_a_log_sources_of_the_time_before_hold_nothing(database: PostgresDatabase) -> None:
    """Protocol C12: after the move to Kafka their horizons stand still; the inbox is bounded."""
    await claim(database, 4, days_ago=40)
    await claim(database, 3, days_ago=20)
    await database.fetch(
        "INSERT INTO messaging.consumer_source (consumer, source, horizon_at)"
        " VALUES ('c', 'orders', now() - make_interval(days => 60))"
    )
    assert await purge_inbox(database, 30 * DAY) == 0
    assert await purge_inbox(database, 30 * DAY, sources_hold=False) == 4
    assert await left(database) == 3


async def test_c12_the_inbox_is_one_table_with_one_key(database: PostgresDatabase) -> None:
    """Protocol C12: in a table partitioned by time the same id could be claimed twice."""
    rows = await database.fetch(
        "SELECT c.relkind::text, pg_get_constraintdef(k.oid) FROM pg_class AS c"
        " JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'"
        " WHERE c.oid = 'messaging.inbox'::regclass"
    )
    assert [(row[0], row[1]) for row in rows] == [("r", "PRIMARY KEY (consumer, message_id)")]


async def test_d5_purge_leaves_room_for_clocks(database: PostgresDatabase) -> None:
    """Protocol D5: two servers' clocks, and numbers that were drawn before their rows' times.

    A row behind the horizon may so be a little older than the horizon's time.
    """
    await claim(database, 4)
    source = (
        "INSERT INTO messaging.consumer_source (consumer, source, horizon_at)"
        " VALUES ('c', 'orders', clock_timestamp() + make_interval(secs => $1))"
    )
    await database.fetch(source, 30.0)
    assert await purge_inbox(database, 0.0) == 0
    await database.fetch("DELETE FROM messaging.consumer_source")
    await database.fetch(source, 90.0)
    assert await purge_inbox(database, 0.0) == 4


async def test_claim_looks_up_its_own_letters_only(database: PostgresDatabase) -> None:
    """A plan made while there were no dead letters does not read them all when there are many."""
    async with database.transaction() as transaction:
        await transaction.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await transaction.execute(f"PREPARE claim (text, uuid[]) AS {CLAIM}")
        rows = await transaction.fetch("EXPLAIN EXECUTE claim ('c', '{}')")
        plan = "\n".join(row[0] for row in rows)
        await transaction.execute("DEALLOCATE claim")
    assert "Index Cond: ((message_id = ANY ($2)) AND (consumer = $1))" in plan

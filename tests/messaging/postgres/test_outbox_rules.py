"""The flush of the outbox on PostgreSQL: protocol O1 to O4, shown lock by lock."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox, columns
from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.lanes import lane_of
from waybill.messaging.testing.contracts.outbox import NOON, a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from waybill.messaging.core.message import Appended, Message
    from waybill.messaging.core.ports import Row, Transaction
    from waybill.messaging.testing.contracts.outbox import Reader

FEW_SECONDS = 10.0
LANE_KEYS = {lane_of(f"key-{n}"): f"key-{n}" for n in range(200)}
"""A key for each lane."""

LANE_LOCKS = """
SELECT objid::int AS lane, granted FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
async def holder(messaging_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection outside the pool, to hold locks and to look at them."""
    connection = await asyncpg.connect(messaging_database)
    yield connection
    await connection.close()


async def publish(database: PostgresDatabase, *lanes: int) -> None:
    """One unit that appends to these lanes, in this order."""
    async with database.transaction() as transaction:
        PostgresOutbox().append(transaction, [a_message(LANE_KEYS[lane]) for lane in lanes])


async def lane_locks(holder: asyncpg.Connection, *, granted: bool) -> list[int]:
    """Lanes that are locked, or waited for."""
    rows = await holder.fetch(LANE_LOCKS, LANE_LOCK_CLASS)
    return sorted(row["lane"] for row in rows if row["granted"] is granted)


async def until_waiting(holder: asyncpg.Connection, lane: int) -> None:
    """Until someone waits for this lane."""
    async with asyncio.timeout(FEW_SECONDS):
        while lane not in await lane_locks(holder, granted=False):
            pass


async def seqs(database: PostgresDatabase, lane: int) -> list[int]:
    """Numbers of a lane."""
    statement = "SELECT seq FROM messaging.outbox WHERE lane = $1 ORDER BY seq"
    return [row[0] for row in await database.fetch(statement, lane)]


async def test_second_unit_of_a_lane_waits_and_is_numbered_later(
    database: PostgresDatabase, holder: asyncpg.Connection
) -> None:
    """Protocol O1: numbers are drawn under the lane lock, so a lane's order is its commit order."""
    async with holder.transaction():
        await holder.execute(
            "SELECT pg_advisory_xact_lock($1, 3)".replace("$1", str(LANE_LOCK_CLASS))
        )
        waiting = asyncio.ensure_future(publish(database, 3))
        await until_waiting(holder, 3)
        await publish(database, 4)
        assert not waiting.done()
    await waiting
    assert (await seqs(database, 4))[0] < (await seqs(database, 3))[0]


async def test_lanes_are_locked_in_ascending_order(
    database: PostgresDatabase, holder: asyncpg.Connection
) -> None:
    """Protocol O2: a unit that waits for a low lane holds no higher one, whatever it appended."""
    async with holder.transaction():
        await holder.execute(f"SELECT pg_advisory_xact_lock({LANE_LOCK_CLASS}, 5)")
        waiting = asyncio.ensure_future(publish(database, 9, 5, 2))
        await until_waiting(holder, 5)
        assert await lane_locks(holder, granted=True) == [2, 5]
    await waiting
    assert await lane_locks(holder, granted=True) == []


async def test_append_order_rules_across_lanes(database: PostgresDatabase) -> None:
    """Protocol O2: numbers ascend in append order though locks are taken in lane order."""
    await publish(database, 9, 5, 2, 5)
    five = await seqs(database, 5)
    assert (await seqs(database, 9))[0] < five[0] < (await seqs(database, 2))[0] < five[1]


async def test_old_snapshot_draws_no_used_number(
    database: PostgresDatabase, holder: asyncpg.Connection
) -> None:
    """Protocol O1: a REPEATABLE READ unit whose snapshot is older than its lock numbers right."""
    async with holder.transaction(isolation="repeatable_read"):
        await holder.fetch("SELECT count(*) FROM messaging.outbox")
        await publish(database, 3, 3)
        await holder.fetch(
            "SELECT messaging.outbox_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
            " $13, $14, $15)",
            *columns([a_message(LANE_KEYS[3])]),
        )
    numbers = await seqs(database, 3)
    assert len(numbers) == len(set(numbers)) == 3


async def test_flush_sets_its_own_limits(messaging_database: str) -> None:
    """Protocol O3: inside the flush the commit is synchronous and a stall bounded; not after."""
    seen: list[Any] = []
    settings = "synchronous_commit", "idle_in_transaction_session_timeout", "lock_timeout"
    question = "SELECT " + ", ".join(f"current_setting('{name}')" for name in settings)

    async def look(transaction: Transaction, _items: Sequence[Any]) -> None:
        seen.append((await transaction.fetch(question))[0])

    for weak, strong in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        database = await PostgresDatabase.connect(
            messaging_database, PostgresSettings(server_settings={"synchronous_commit": weak})
        )
        async with database.transaction() as transaction:
            PostgresOutbox().append(transaction, [a_message()])
            transaction.buffer(look).append("after the outbox")
        row = seen.pop()
        assert (row[0], row[1], row[2]) == (strong, "2s", "5s")
        row = (await database.fetch(question))[0]
        assert (row[0], row[1], row[2]) == (weak, "30s", "10s")
        await database.close()


async def test_client_that_stalls_before_commit_is_ended(
    database: PostgresDatabase, holder: asyncpg.Connection
) -> None:
    """Protocol O3: a client that stops between the lane lock and COMMIT blocks its lane 2 s."""
    await holder.execute("BEGIN")
    await holder.fetch(
        "SELECT messaging.outbox_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
        " $13, $14, $15)",
        *columns([a_message(LANE_KEYS[3])]),
    )
    async with asyncio.timeout(FEW_SECONDS):
        await publish(database, 3)
    assert len(await seqs(database, 3)) == 1


class CountedTransaction:
    """Passes everything on, and counts the round trips."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.statements = 0

    async def execute(self, statement: str, *arguments: object) -> int:
        """Counted."""
        self.statements += 1
        return await self._transaction.execute(statement, *arguments)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Counted."""
        self.statements += 1
        return await self._transaction.fetch(statement, *arguments)

    async def fetch_last(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Counted."""
        self.statements += 1
        return await self._transaction.fetch_last(statement, *arguments)

    async def fetch_later(
        self,
        statement: str,
        *arguments: object,
        then: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> None:
        """Counted."""
        self.statements += 1
        await self._transaction.fetch_later(statement, *arguments, then=then)

    async def execute_ahead(
        self, statement: str, *arguments: object, then: Callable[[], None] = lambda: None
    ) -> None:
        """Rides: not counted."""
        await self._transaction.execute_ahead(statement, *arguments, then=then)

    async def settle(self) -> None:
        """Passed on."""
        await self._transaction.settle()

    def buffer(self, flush: Callable[[Transaction, Sequence[Any]], Awaitable[None]]) -> list[Any]:
        """The flush gets this transaction."""

        async def counted(_transaction: Transaction, items: Sequence[Any]) -> None:
            await flush(self, items)

        return self._transaction.buffer(counted)

    def on_commit(self, call: Callable[[], None]) -> None:
        """Passed on."""
        self._transaction.on_commit(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        """Passed on."""
        self._transaction.on_unknown(call)


async def test_flush_is_one_round_trip(database: PostgresDatabase) -> None:
    """However many messages, lanes and types: one statement stores them all."""
    messages = [
        a_message(f"key-{n}", type=f"T{n % 7}", occurred_at=NOON + timedelta(seconds=n))
        for n in range(500)
    ]
    async with database.transaction() as transaction:
        counted = CountedTransaction(transaction)
        PostgresOutbox().append(counted, messages)
    assert counted.statements == 1
    rows = await database.fetch("SELECT id, type, occurred_at FROM messaging.outbox ORDER BY seq")
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (message.id, message.type, message.occurred_at) for message in messages
    ]


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.published_messages: list[tuple[str, int]] = []
        self.rings: list[Sequence[Appended]] = []

    def published(self, topic: str, count: int) -> None:
        """See Observer."""
        self.published_messages.append((topic, count))

    def ring(self, appended: Sequence[Appended]) -> None:
        """A doorbell."""
        self.rings.append(appended)


async def test_doorbell_and_observer_follow_the_commit(database: PostgresDatabase) -> None:
    """Readers are woken and messages counted after the commit that wrote them, and only then."""
    seen = Seen()
    outbox = PostgresOutbox(doorbell=seen.ring, observer=seen)
    with pytest.raises(LookupError):
        async with database.transaction() as transaction:
            outbox.append(transaction, [a_message()])
            raise LookupError
    async with database.transaction() as transaction:
        outbox.append(transaction, [])
    assert (seen.rings, seen.published_messages) == ([], [])
    async with database.transaction() as transaction:
        outbox.append(transaction, [a_message(topic="a"), a_message(topic="b")])
        outbox.append(transaction, [a_message(topic="a")])
        assert not seen.rings
    assert (len(seen.rings), seen.published_messages) == (1, [("a", 2), ("b", 1)])


async def test_append_tells_where_each_message_went(database: PostgresDatabase) -> None:
    """Protocol D7: what a ring carries is what stands in the table, each behind its predecessor."""
    seen = Seen()
    outbox = PostgresOutbox(doorbell=seen.ring)
    for lanes in ([3, 5, 3], [9], [5, 3, 9]):
        async with database.transaction() as transaction:
            outbox.append(transaction, [a_message(LANE_KEYS[lane]) for lane in lanes])
    heard = [each for ring in seen.rings for each in ring]
    stored = await database.fetch(
        "SELECT lane, lag(seq, 1, 0::bigint) OVER (PARTITION BY lane ORDER BY seq) AS before,"
        " seq, id FROM messaging.outbox ORDER BY seq"
    )
    assert [(each.lane, each.before, each.seq, each.message.id) for each in heard] == [
        (row["lane"], row["before"], row["seq"], row["id"]) for row in stored
    ]


@pytest.mark.parametrize(
    "message",
    [
        a_message("nul\0"),
        a_message("\ud800"),
        a_message(type="\ud800"),
        a_message(version=1 << 40),
    ],
)
async def test_message_that_cannot_be_stored_is_permanent(
    database: PostgresDatabase, message: Message
) -> None:
    """Pitfall B61: what the database cannot hold fails the unit as the message's own fault."""
    with pytest.raises(PermanentError):
        async with database.transaction() as transaction:
            PostgresOutbox().append(transaction, [message])


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
async def test_size_limit_counts_the_whole_record(
    database: PostgresDatabase, read: Reader, size: int, *, fits: bool
) -> None:
    """Protocol L4: value, key, headers and envelope together stay within message_bytes_max."""
    outbox = PostgresOutbox(message_bytes_max=2_000)
    rest = 2_000 - 300 - len("kk") - len("h") - 500
    message = a_message("kk", headers={"h": bytes(500)}, value=bytes(rest + size - 1000))
    async with database.transaction() as transaction:
        if fits:
            outbox.append(transaction, [message])
        else:
            with pytest.raises(PermanentError, match="takes 2001 bytes"):
                outbox.append(transaction, [message])
    assert len(await read(lane_of("kk"), 0, 10)) == fits


async def test_schema_holds_what_numbers_rest_on(database: PostgresDatabase) -> None:
    """Protocol O1, O6: (lane, seq) is unique, the sequence has no cache, nothing is DEFAULT."""
    rows = await database.fetch(
        """
        SELECT (SELECT pg_get_constraintdef(oid) FROM pg_constraint
                WHERE conrelid = 'messaging.outbox'::regclass AND contype = 'u'),
               (SELECT seqcache FROM pg_sequence WHERE seqrelid = 'messaging.outbox_seq'::regclass),
               (SELECT partdefid FROM pg_partitioned_table
                WHERE partrelid = 'messaging.outbox'::regclass)
        """
    )
    assert (rows[0][0], rows[0][1], rows[0][2]) == ("UNIQUE (lane, seq)", 1, 0)

"""What reading the outbox costs, who waits for whom, and that nothing in a row can stop it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.messaging.postgres.log_world import FAST, SOURCE, LogWorld, Stoppable, eventually

from waybill.messaging.adapters.postgres.outbox_rows import FETCH
from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.adapters.postgres.source import SESSION
from waybill.messaging.adapters.postgres.topics import read_topic
from waybill.messaging.core.codec import EventType, JsonCodec
from waybill.messaging.core.errors import TransientError, UndecodableMessageError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import ALL_LANES, lane_of
from waybill.messaging.core.outbox_row import (
    BATCH_BYTES_MAX,
    ORIGINAL_VALUE_HEADER,
    UNREADABLE,
    UNREADABLE_HEADER,
    VALUE_BYTES_MAX,
)
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.testing.contracts.log import (
    OTHER_TOPIC,
    TOPIC,
    commit,
    next_records,
    publish,
    read_all,
)
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.core.message import Record

BACKLOG = 120_000
# The rows of a backlog without 120,000 messages in Python; seqs as the append function gives them.
FILL = """
INSERT INTO messaging.outbox (seq, lane, id, aggregatetype, aggregateid, type, payload, version,
    topic, correlation_id, producer, headers, occurred_at)
SELECT n, CASE WHEN $2::integer IS NULL THEN n % 17 ELSE $2 END, gen_random_uuid(), '', 'k',
       'Sent', repeat('x', 200)::bytea, 1, $3, '', '', '{}', clock_timestamp()
FROM generate_series(nextval('messaging.outbox_seq'), $1) AS n
"""


class Sent:
    """An event type's Python class; never decoded here."""


@pytest.fixture
async def world(messaging_database: str, second_messaging_database: str) -> AsyncIterator[LogWorld]:
    """A producer and a consumer."""
    made = LogWorld(messaging_database, second_messaging_database)
    await made.open()
    yield made
    await made.close()


async def fill(world: LogWorld, count: int, lane: int | None = None, topic: str = TOPIC) -> None:
    """A backlog, and the sequence behind it."""
    await world.source.fetch(FILL, count, lane, topic)
    await world.source.fetch("SELECT setval('messaging.outbox_seq', $1)", count)


async def explain(connection: asyncpg.Connection, positions: list[int]) -> dict[str, Any]:
    """The plan that a reader's session runs, with what it did."""
    lanes = list(range(ALL_LANES))
    rows = await connection.fetchval(
        "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE fetching"
        f" ('{{{','.join(map(str, lanes))}}}', '{{{','.join(map(str, positions))}}}',"
        f" '{{{TOPIC}}}', 500, {VALUE_BYTES_MAX}, {BATCH_BYTES_MAX})"
    )
    plan: dict[str, Any] = json.loads(rows)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Every node of a plan."""
    return [plan, *(node for below in plan.get("Plans", []) for node in nodes(below))]


@pytest.mark.parametrize("planned_on", ["empty", "full"])
async def test_fetch_scans_indexes_of_the_partitions_it_needs(
    world: LogWorld, planned_on: str
) -> None:
    """A plan cached on an empty table is right for 10^5 rows: no scan, no sort of a backlog."""
    for lower in (1, 1_000_001, 2_000_001):
        await world.source.fetch(f"DROP TABLE messaging.outbox_{lower}")
    for lower in range(1, BACKLOG + 40_000, 40_000):
        await world.source.fetch(
            f"CREATE TABLE messaging.outbox_{lower} PARTITION OF messaging.outbox"
            f" FOR VALUES FROM ({lower}) TO ({lower + 40_000})"
        )
    connection = await asyncpg.connect(world.source_url, server_settings=SESSION)
    types = "smallint[], bigint[], text[], integer, integer, bigint"
    prepare = f"PREPARE fetching ({types}) AS {FETCH}"
    if planned_on == "empty":
        await connection.execute(prepare)
        await explain(connection, [0] * ALL_LANES)
    await fill(world, BACKLOG)
    if planned_on == "full":
        await world.source.fetch("ANALYZE messaging.outbox")
        await connection.execute(prepare)

    for positions, rows in (([0] * ALL_LANES, 500), ([BACKLOG - 170] * ALL_LANES, 170)):
        plan = await explain(connection, positions)
        assert plan["Actual Rows"] == rows
        below = nodes(plan)
        kinds = {node["Node Type"] for node in below}
        assert not kinds & {"Seq Scan", "Bitmap Heap Scan", "Sort", "Hash Join", "Merge Append"}
        scans = [node for node in below if "Index" in node["Node Type"]]
        executed = [scan for scan in scans if scan["Actual Loops"]]
        assert len(executed) <= 2 < len(scans)
        fetched = sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in executed)
        assert fetched <= rows + ALL_LANES
    await connection.close()


async def test_backlog_of_one_lane_starves_no_other(world: LogWorld) -> None:
    """A hot key's backlog and a new message of another key come side by side."""
    hot = lane_of("k")
    others = [lane for lane in range(16) if lane != hot]
    await fill(world, 5_000, lane=hot)
    member = await world.member()
    await next_records(member, 100)
    await world.publish(*(f"key-{n}" for n in range(60)))
    seen: set[int] = set()
    for _ in range(3):
        batch = await next_records(member, 100)
        seen |= {record.lane for record in batch.records}
    assert seen >= {lane for lane in others if lane in {lane_of(f"key-{n}") for n in range(60)}}


async def test_values_of_foreign_topics_are_not_shipped(world: LogWorld) -> None:
    """Protocol D2: what is passed over costs neither network nor memory."""
    await fill(world, 10, topic=OTHER_TOPIC)
    connection = await asyncpg.connect(world.source_url)
    rows = await connection.fetch(
        FETCH,
        list(range(ALL_LANES)),
        [0] * ALL_LANES,
        [TOPIC],
        100,
        VALUE_BYTES_MAX,
        BATCH_BYTES_MAX,
    )
    await connection.close()
    assert len(rows) == 10
    assert all(row["payload"] is None and row["headers"] is None for row in rows)


async def test_batch_of_large_messages_is_bounded_in_bytes(world: LogWorld) -> None:
    """Memory is bounded whatever the messages are; all come, and without waiting for a poll."""
    large = [a_message(f"key-{n}", value=bytes(900_000)) for n in range(30)]
    await publish(world.source, world.outbox, large)
    clock = Stoppable()
    member = await world.member(monotonic=clock)
    clock.stop()
    sizes: list[int] = []
    while sum(sizes) < len(large):
        batch = await next_records(member, 500)
        sizes.append(len(batch.records))
        size = sum(len(record.message.value) for record in batch.records)
        assert size < BATCH_BYTES_MAX + 900_000
    assert len(sizes) == 3
    topic = read_topic({SOURCE: world.source}, TOPIC)
    assert len([record async for record in topic]) == len(large)


async def insert_raw(world: LogWorld, **columns: str) -> None:
    """Put a row past append, under the lane's lock as append would; columns as SQL."""
    values = {
        "seq": "nextval('messaging.outbox_seq')", "lane": str(lane_of("k")),
        "id": "gen_random_uuid()", "aggregatetype": "''", "aggregateid": "'k'", "type": "'Sent'",
        "payload": "'{}'", "version": "1", "topic": f"'{TOPIC}'", "correlation_id": "''",
        "producer": "''", "headers": "'{}'", "occurred_at": "now()",
    } | columns  # fmt: skip
    async with world.source.transaction() as transaction:
        await transaction.fetch(
            "SELECT pg_advisory_xact_lock($1, $2)", LANE_LOCK_CLASS, lane_of("k")
        )
        await transaction.execute(
            f"INSERT INTO messaging.outbox ({', '.join(values)}) VALUES ({', '.join(values.values())})"  # noqa: S608, E501 - the test's own text
        )


NONSENSE = {
    "headers are no JSON": {"headers": "'{'"},
    "headers are another JSON": {"headers": "'[1]'"},
    "headers are no base64": {"headers": """'{"a": "!"}'"""},
    "headers are deep": {"headers": "repeat('[', 100000)"},
    "time of the far future": {"occurred_at": "'294276-01-01'"},
    "time before Christ": {"occurred_at": "'4000-01-01 BC'"},
    "infinite time": {"occurred_at": "'infinity'"},
    "huge value": {"payload": "decode(repeat('00', 17000000), 'hex')"},
}
ODD = {
    "negative version": {"version": "-5"},
    "empty everything": {"type": "''", "aggregateid": "''", "payload": "''"},
    "value is no text": {"payload": r"'\xff00'"},
    "long key": {"aggregateid": "repeat('k', 100000)"},
    "odd trace": {"traceparent": "'zz'"},
    "largest numbers": {"version": "2147483647", "aggregate_version": "9223372036854775807"},
}


@pytest.mark.parametrize("columns", NONSENSE.values(), ids=list(NONSENSE))
async def test_row_that_makes_no_sense_becomes_an_undecodable_record(
    world: LogWorld, columns: dict[str, str]
) -> None:
    """Nothing that the outbox can hold stops its reader: the codec refuses it, others go on."""
    member = await world.member()
    await insert_raw(world, **columns)
    (after,) = await world.publish("k")
    poison, good = await read_all(member, world.consuming, 2)
    assert good.message == after
    assert poison.message.value.startswith(UNREADABLE)
    assert poison.message.headers[UNREADABLE_HEADER]
    assert ORIGINAL_VALUE_HEADER in poison.message.headers
    codec = JsonCodec([EventType(dict, TOPIC, "Sent")])
    with pytest.raises(UndecodableMessageError):
        codec.decode(poison.message)


@pytest.mark.parametrize("columns", ODD.values(), ids=list(ODD))
async def test_odd_row_is_read_as_it_stands(world: LogWorld, columns: dict[str, str]) -> None:
    """Whether a message makes sense is the codec's and the handler's to say, not the reader's."""
    member = await world.member()
    await insert_raw(world, **columns)
    await insert_raw(world)
    records = await read_all(member, world.consuming, 2)
    assert UNREADABLE_HEADER not in records[0].message.headers


@pytest.fixture
async def broken_world(
    world: LogWorld,
    databases: Any,  # noqa: ANN401 - tests.conftest.TestDatabases
    messaging_template: str,
) -> AsyncIterator[tuple[LogWorld, str]]:
    """A world with a second source database beside it; its name."""
    name = databases.copy(messaging_template)
    yield world, name
    # A connection that is half open when its loop stands still would hold the drop up.
    await world.close_members()
    databases.drop(name)


async def shut(world: LogWorld, name: str, *, down: bool) -> None:
    """Take a database away, or bring it back."""
    await world.source.fetch(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {str(not down).lower()}')
    if down:
        await world.source.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )


def two_sources(world: LogWorld, name: str) -> dict[str, SourceSpec]:
    """The world's source, and the other database, with a topic each."""
    database = world.source_url.split("@/")[1].split("?")[0]
    other = world.source_url.replace(f"@/{database}?", f"@/{name}?")
    return {
        SOURCE: SourceSpec(world.source_url, frozenset({TOPIC})),
        "letters": SourceSpec(other, frozenset({OTHER_TOPIC})),
    }


async def test_source_that_is_down_stops_no_other(broken_world: tuple[LogWorld, str]) -> None:
    """Protocol D8: an outage of one producer delays its own messages only, also at the start."""
    world, name = broken_world
    sources = two_sources(world, name)
    await shut(world, name, down=True)
    member = await world.member(sources=sources, topics=[TOPIC, OTHER_TOPIC])
    await world.publish("a", "b")
    assert len(await read_all(member, world.consuming, 2)) == 2
    await shut(world, name, down=False)
    late = await asyncpg.connect(sources["letters"].url)
    await late.execute(FILL, 1, 0, OTHER_TOPIC)
    await late.close()
    (record,) = await read_all(member, world.consuming, 1)
    assert record.source == "letters"


async def test_all_sources_down_is_an_outage_that_heals(
    broken_world: tuple[LogWorld, str],
) -> None:
    """With nothing to read anywhere fetch raises TransientError; afterwards all goes on."""
    world, name = broken_world
    sources = {"letters": two_sources(world, name)["letters"]}
    member = await world.member(sources=sources, topics=[OTHER_TOPIC])
    await shut(world, name, down=True)

    async def raises() -> bool:
        try:
            await member.fetch(10)
        except TransientError:
            return True
        return False

    await eventually(raises)
    await shut(world, name, down=False)

    async def heals() -> bool:
        return not await raises()

    await eventually(heals)


async def test_consumer_database_down_is_an_outage_for_rewind(
    broken_world: tuple[LogWorld, str],
) -> None:
    """A rewind that could not load its positions is tried again; nothing is passed over."""
    world, _ = broken_world
    member = await world.member(LogSettings(poll_seconds=0.05, lease_seconds=10.0))
    sent = await world.publish("a", "b", "c")
    await next_records(member)
    name = world.consumer_url.split("@/")[1].split("?")[0]
    await shut(world, name, down=True)
    with pytest.raises(TransientError):
        await member.rewind()
    await shut(world, name, down=False)

    async def reads_again() -> bool:
        try:
            batch = await member.fetch(10)
        except TransientError:
            return False
        return len(batch.records) == len(sent)

    await eventually(reads_again)


async def test_sources_come_merged_in_order(broken_world: tuple[LogWorld, str]) -> None:
    """One batch holds what all sources have, ordered by source, lane and seq."""
    world, name = broken_world
    sources = two_sources(world, name)
    member = await world.member(sources=sources, topics=[TOPIC, OTHER_TOPIC])
    other = LogWorld(sources["letters"].url, world.consumer_url)
    await other.open()
    keys = [f"key-{n}" for n in range(20)]
    await world.publish(*keys)
    await publish(other.source, other.outbox, [a_message(key, topic=OTHER_TOPIC) for key in keys])
    records: list[Record] = []
    while len(records) < 40:
        batch = await next_records(member, 30)
        assert list(batch.records) == sorted(batch.records, key=place)
        records += batch.records
    assert {record.source for record in records} == {SOURCE, "letters"}
    await other.close()


def place(record: Record) -> tuple[str, int, int]:
    """Where a record stands."""
    return (record.source, record.lane, record.seq)


async def test_two_sources_are_recorded_in_one_statement(
    broken_world: tuple[LogWorld, str],
) -> None:
    """A batch costs one statement for its fence and one for its positions, whatever is in it."""
    world, name = broken_world
    sources = two_sources(world, name)
    member = await world.member(FAST, sources=sources, topics=[TOPIC, OTHER_TOPIC])
    other = LogWorld(sources["letters"].url, world.consumer_url)
    await other.open()
    await world.publish("a", "b", "c")
    await publish(other.source, other.outbox, [a_message(k, topic=OTHER_TOPIC) for k in "abc"])
    batch = await next_records(member)
    counted = Counted()
    async with world.consuming.transaction() as transaction:
        counted.inner = transaction
        claimed = await member.record(counted, batch.scanned, [new_id()])
    assert (counted.statements, len(claimed)) == (1, 1)
    await commit(member, world.consuming, batch)
    await other.close()


class Counted:
    """A transaction that counts its statements."""

    inner: Any

    def __init__(self) -> None:
        self.statements = 0

    async def execute(self, statement: str, *arguments: object) -> int:
        """See Transaction."""
        self.statements += 1
        return int(await self.inner.execute(statement, *arguments))

    async def fetch(self, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - rows
        """See Transaction."""
        self.statements += 1
        return await self.inner.fetch(statement, *arguments)

    async def fetch_last(self, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - rows
        """See Transaction."""
        return await self.inner.fetch_last(statement, *arguments)

    async def fetch_later(
        self,
        statement: str,
        *arguments: object,
        then: Any = lambda _: None,  # noqa: ANN401 - passed on,
    ) -> None:
        """See Transaction."""
        await self.inner.fetch_later(statement, *arguments, then=then)

    async def execute_ahead(
        self,
        statement: str,
        *arguments: object,
        then: Any = lambda: None,  # noqa: ANN401 - passed on
    ) -> None:
        """See Transaction."""
        await self.inner.execute_ahead(statement, *arguments, then=then)

    async def settle(self) -> None:
        """See Transaction."""
        await self.inner.settle()

    def buffer(self, flush: Any) -> list[Any]:  # noqa: ANN401 - passed on
        """See Transaction."""
        return list(self.inner.buffer(flush))

    def on_commit(self, call: Any) -> None:  # noqa: ANN401 - passed on
        """See Transaction."""
        self.inner.on_commit(call)

    def on_unknown(self, call: Any) -> None:  # noqa: ANN401 - passed on
        """See Transaction."""
        self.inner.on_unknown(call)


async def test_close_in_the_middle_of_a_fetch_is_clean(world: LogWorld) -> None:
    """A drain cancels a waiting fetch; nothing is left running."""
    member = await world.member()
    fetching = asyncio.create_task(member.fetch(10))
    await asyncio.sleep(0)
    fetching.cancel()
    await asyncio.wait([fetching])
    await member.close()
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]  # coroutines all
    assert not any("SourceReader" in name or "LeaseKeeper" in name for name in names)

"""What a relay does with a backlog, and with orders as they come: Waybill's, seed 003's, and none.

Rates are what the broker has taken of a backlog that was there before; the order service runs
alone, and so does the baseline's relay.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.bursts import TOPIC, VALUE_BYTES, append
from benchmarks.cluster import CannotMeasureError, connected, held_snapshots
from benchmarks.kafka_broker import PARTITIONS, running_kafka
from benchmarks.platform_processes import running
from benchmarks.seed_side import TOPICS, Seed
from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import Message
from waybill.operations.load import Plan, run
from waybill.operations.sent_orders import two_lines
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import SERVICES, database_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncpg

    from benchmarks.effort import Effort
    from benchmarks.kafka_broker import Kafka
    from benchmarks.platform_processes import PlatformProcesses

EVENTS_A_SECOND_MAX: Final = 120_000
SEED_EVENTS_A_SECOND_MAX: Final = 250
"""More than each relay carries: its backlog lasts for the window."""
BURST_EVENTS: Final = 400_000
"""Of one transaction, for the rate under a snapshot: some seconds of the relay's work."""
LATENCY_EVENTS_A_SECOND: Final = 50.0
READ_SECONDS_MAX: Final = 30.0
BURST_SECONDS_MAX: Final = 60.0
_RELAYED: Final = "UPDATE messaging.outbox_meta SET mode = 'relay'"
_ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
_OUR_ROWS: Final = "SELECT id, created_at FROM messaging.outbox"
_SEED_ROWS: Final = "SELECT id, created_at FROM outbox_events"


@asynccontextmanager
async def our_relay(data: Path, backlog: int = 0) -> AsyncIterator[tuple[PlatformProcesses, Kafka]]:
    """The order service alone, with so many events in its outbox that nobody has sent yet."""
    async with EmbeddedPostgres(data), connected(data, "order") as sql:
        if backlog:
            await sql.execute(_RELAYED)
            await append(sql, backlog)
    async with running_kafka(data) as kafka:
        await kafka.create([*TOPICS])
        environment = {"KAFKA_BROKERS": kafka.bootstrap}
        async with running(data, "a process a service", environment, only="order") as platform:
            yield platform, kafka


@asynccontextmanager
async def seed_relay(data: Path, backlog: int = 0) -> AsyncIterator[tuple[Seed, Kafka]]:
    """Seed 003's relay alone."""
    async with EmbeddedPostgres(data) as server, running_kafka(data) as kafka:
        seed = Seed(server, data, kafka)
        await seed.prepare()
        if backlog:
            await seed.fill_outbox(backlog)
        async with seed.running("order", relay_only=True):
            yield seed, kafka


async def rate(kafka: Kafka, warm_up: float, seconds: float) -> float:
    """Events a second that the broker takes, once it takes any."""
    while not await kafka.records(TOPIC):  # noqa: ASYNC110 - a broker has no event
        await asyncio.sleep(0.02)
    await asyncio.sleep(warm_up)
    began, before = time.monotonic(), await kafka.records(TOPIC)
    await asyncio.sleep(seconds)
    return (await kafka.records(TOPIC) - before) / (time.monotonic() - began)


async def our_rate(data: Path, effort: Effort) -> float:
    """Of a backlog."""
    seconds = effort.warm_up_seconds + effort.seconds
    backlog = round(seconds * EVENTS_A_SECOND_MAX)
    async with our_relay(data, backlog) as (_, kafka):
        found = await rate(kafka, effort.warm_up_seconds / 4, effort.seconds / 2)
        if await kafka.records(TOPIC) >= backlog:
            raise CannotMeasureError(f"the relay sent all of {backlog} events in the window")
    return found


async def seed_rate(data: Path, effort: Effort) -> float:
    """Of a backlog."""
    backlog = round((effort.warm_up_seconds + effort.seconds) * SEED_EVENTS_A_SECOND_MAX)
    async with seed_relay(data, backlog) as (_, kafka):
        return await rate(kafka, effort.warm_up_seconds, effort.seconds)


async def raw_rate(data: Path, effort: Effort) -> float:
    """Librdkafka alone: the same bytes and headers, as fast as it takes them."""
    async with running_kafka(data) as kafka:
        await kafka.create([TOPIC])
        return await asyncio.to_thread(_produce, kafka.bootstrap, effort.seconds)


def _produce(bootstrap: str, seconds: float) -> float:
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1}
    )
    value = json.dumps("x" * (VALUE_BYTES - 2)).encode()
    envelope = Message(
        id=new_id(),
        topic=TOPIC,
        type="Measured",
        key="",
        value=value,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    headers = to_headers(envelope)
    keys = [str(new_id()) for _ in range(1_000)]
    sent, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for key in keys:
            try:
                producer.produce(TOPIC, value, key, headers=headers)
                sent += 1
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    producer.flush()
    return sent / (time.perf_counter() - began)


async def snapshot_rates(data: Path, effort: Effort) -> tuple[list[float], list[float]]:
    """Of bursts before a snapshot is opened in every database, and once it was open for a while."""
    async with AsyncExitStack() as stack:
        _, kafka = await stack.enter_async_context(our_relay(data))
        sql = await stack.enter_async_context(connected(data, "order"))
        await _burst(sql, kafka)
        before = [await _burst(sql, kafka) for _ in range(effort.snapshot_windows)]
        await stack.enter_async_context(held_snapshots(data, map(database_of, SERVICES)))
        await asyncio.sleep(effort.snapshot_window_seconds)
        held = [await _burst(sql, kafka) for _ in range(effort.snapshot_windows)]
    return before, held


async def _burst(sql: asyncpg.Connection, kafka: Kafka) -> float:
    """Events a second, from their commit until the broker has them all."""
    wanted = await kafka.records(TOPIC) + BURST_EVENTS
    await append(sql, BURST_EVENTS)
    began = time.monotonic()
    async with asyncio.timeout(BURST_SECONDS_MAX):
        while await kafka.records(TOPIC) < wanted:  # noqa: ASYNC110 - a broker has no event
            await asyncio.sleep(0.02)
    return BURST_EVENTS / (time.monotonic() - began)


async def our_latency(data: Path, effort: Effort) -> float:
    """p50 in seconds from a row's insertion, before its commit, to the broker's own time."""
    async with our_relay(data) as (platform, kafka):
        plan = Plan(
            rate=LATENCY_EVENTS_A_SECOND,
            seconds=effort.seconds,
            connections=8,
            port_base=platform.port_base,
            contents=two_lines(),
        )
        await run(plan)
        async with connected(data, "order") as sql:
            rows = await sql.fetch(_OUR_ROWS)
        return await _median(kafka, {row["id"]: row["created_at"].timestamp() for row in rows})


async def seed_latency(data: Path, effort: Effort) -> float:
    """The same of the baseline."""
    async with seed_relay(data) as (seed, kafka):
        for _ in range(round(LATENCY_EVENTS_A_SECOND * effort.seconds)):
            await seed.fill_outbox(1)
            await asyncio.sleep(1 / LATENCY_EVENTS_A_SECOND)
        rows = await seed.rows(_SEED_ROWS)
        return await _median(kafka, {row["id"]: row["created_at"].timestamp() for row in rows})


async def _median(kafka: Kafka, inserted: dict[UUID, float]) -> float:
    taken = await asyncio.to_thread(_times, kafka.bootstrap, len(inserted))
    return statistics.median(at - inserted[id_] for id_, at in taken.items() if id_ in inserted)


def _times(bootstrap: str, wanted: int) -> dict[UUID, float]:
    """When the broker took each record, in its own milliseconds, rounded up."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "times"})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    found: dict[UUID, float] = {}
    deadline = time.monotonic() + READ_SECONDS_MAX
    while len(found) < wanted and time.monotonic() < deadline:
        for record in consumer.consume(1_000, 0.1):
            for header in record.headers() or ():
                if header[0] == "eventId" and isinstance(header[1], bytes):
                    found[UUID(header[1].decode())] = record.timestamp()[1] / 1000 + 0.001
    consumer.close()
    return found

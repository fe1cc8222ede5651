"""R3: effects a second and core, to FastStream with SQLAlchemy's object mapper.

Both take the same backlog from the same kind of broker, and store the same: inbox row, stock,
reservation, outbox row. A core is the consumer's own CPU time; PostgreSQL's is told beside it.
R8's second half: our consumer to reading the same bytes with librdkafka and doing nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.cluster import connected, fresh_database
from benchmarks.environment import HERE, prepared
from benchmarks.kafka_broker import PARTITIONS, running_kafka
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.proof import AuditFailedError
from benchmarks.report import Result
from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import Message
from waybill.operations.load import PRODUCTS
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.kafka_broker import Kafka
    from benchmarks.pairs import Budget

TOPIC: Final = "ordered"
SCHEMA: Final = HERE / "orm_consumer" / "schema.sql"
DATABASE: Final = "effects"
OURS_FOR_THEIRS: Final = 12
"""How many times the baseline's messages ours takes: both run for about as long."""
MESSAGES_A_SECOND: Final = 300
"""Of the baseline, about; its window is the effort's seconds."""
WORK_SECONDS_MAX: Final = 300.0
CONSUMED_MAX: Final = 10_000


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """In turn, on a fresh server and broker each."""
    theirs = round(MESSAGES_A_SECOND * bench.effort.seconds)
    ours = theirs * OURS_FOR_THEIRS
    python = str(await prepared())

    async def faststream() -> dict[str, float]:
        return await _side(bench, (python, "-m", "benchmarks.orm_consumer.worker"), theirs)

    async def waybill() -> dict[str, float]:
        return await _side(bench, (sys.executable, "-m", "benchmarks.effects_worker"), ours)

    async def raw() -> dict[str, float]:
        with bench.scratch.fresh(bench.name("raw")) as data:
            async with running_kafka(data) as kafka:
                await _fill(kafka, ours)
                rate = await asyncio.to_thread(_consume, kafka.bootstrap, ours)
        bench.say(f"  librdkafka alone: {rate:.0f} records/s")
        return {"rate": rate}

    sides = {"faststream": faststream, "waybill": waybill, "raw": raw}
    runs = await alternate(sides, bench.effort.rounds, budget)
    cores = {side: [run["a_core"] for run in runs[side]] for side in ("faststream", "waybill")}
    rates = {side: [run["rate"] for run in found] for side, found in runs.items()}
    return [
        Result(
            "R3",
            ratio(cores["waybill"], cores["faststream"]),
            {
                "Waybill, effects/s and core": Spread.of(cores["waybill"]),
                "FastStream and SQLAlchemy ORM": Spread.of(cores["faststream"]),
                "Waybill, effects/s": Spread.of(rates["waybill"]),
                "FastStream, effects/s": Spread.of(rates["faststream"]),
            },
            details=runs,
        ),
        Result(
            "R8 consumer",
            ratio(rates["waybill"], rates["raw"]),
            {
                "Waybill, effects/s": Spread.of(rates["waybill"]),
                "librdkafka, records/s": Spread.of(rates["raw"]),
            },
        ),
    ]


async def _side(bench: Bench, command: tuple[str, ...], messages: int) -> dict[str, float]:
    """Effects a second, and a CPU second of the consumer."""
    with bench.scratch.fresh(bench.name("effects")) as data:
        async with EmbeddedPostgres(data) as server, running_kafka(data) as kafka:
            await _fill(kafka, messages)
            async with fresh_database(data, DATABASE, SCHEMA.read_text()) as sql:
                await sql.executemany(
                    "INSERT INTO products (id, available) VALUES ($1, 1000000000)",
                    [(product,) for product in PRODUCTS],
                )
            url = server.url(DATABASE)
            if "orm" in command[-1]:
                url = url.replace("postgresql://", "postgresql+asyncpg://", 1)
            figures = await _run(command, url, kafka, messages)
            await _check(data, messages)
    done = float(figures["effects"])
    rates = {"rate": done / figures["seconds"], "a_core": done / figures["cpu_seconds"]}
    bench.say(f"  {command[-1]}: {rates['rate']:.0f} effects/s, {rates['a_core']:.0f} a core")
    return rates


async def _check(data: Path, messages: int) -> None:
    """Every message had its effect, once."""
    async with connected(data, database=DATABASE) as sql:
        reserved = await sql.fetchval("SELECT sum(reserved) FROM products")
        rows = await sql.fetchval("SELECT count(*) FROM reservations")
    if reserved != messages or rows != messages:
        raise AuditFailedError(f"{messages} messages, {rows} reservations, {reserved} units")


async def _run(command: tuple[str, ...], url: str, kafka: Kafka, messages: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(*command, "--url", url, "--bootstrap", kafka.bootstrap),
        *("--topic", TOPIC, "--messages", str(messages)),
        cwd=HERE.parent,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WORK_SECONDS_MAX):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found: dict[str, Any] = json.loads(output)
    return found


async def _fill(kafka: Kafka, messages: int) -> None:
    await kafka.create([TOPIC])
    await asyncio.to_thread(_produce, kafka.bootstrap, messages)


def _produce(bootstrap: str, messages: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for number in range(messages):
        message = _message(PRODUCTS[number % len(PRODUCTS)])
        headers = to_headers(message)
        while True:
            try:
                producer.produce(TOPIC, message.value, message.key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def _message(product: str) -> Message:
    id_, order_id = new_id(), new_id()
    event = {"id": id_, "order_id": order_id, "product_id": product, "quantity": 1}
    return Message(
        id=id_,
        topic=TOPIC,
        type="Ordered",
        key=str(order_id),
        value=msgspec.json.encode(event),
        occurred_at=datetime.now(UTC),  # noqa: TID251 - nobody reads it
        producer="benchmark",
    )


def _consume(bootstrap: str, messages: int) -> float:
    """Records a second of librdkafka alone, from Python, values read."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "raw"})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    seen = size = 0
    began = time.perf_counter()
    while seen < messages:
        for record in consumer.consume(CONSUMED_MAX, 0.05):
            size += len(record.value() or b"")
            seen += 1
    seconds = time.perf_counter() - began
    consumer.close()
    return seen / seconds

"""The baseline's side: seed 003's services in Python, each a process with a database of its own."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.cluster import connected, fresh_database
from benchmarks.environment import HERE, prepared
from waybill.operations.load import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import asyncpg

    from benchmarks.kafka_broker import Kafka
    from waybill.platform.embedded import EmbeddedPostgres

SCHEMA: Final = HERE / "seed_design" / "schema.sql"
SERVICES: Final = ("order", "inventory", "payment", "notification")
TOPICS: Final = ("order-events", "inventory-events", "payment-events")
STOCK: Final = 1_000_000_000
START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 15.0
CONFIRMED: Final = "SELECT count(*) FROM orders WHERE status = 'CONFIRMED'"
BROKEN: Final = "SELECT count(*) FROM products WHERE available + reserved <> $1"


@dataclass(frozen=True)
class Seed:
    """The design's processes on one server and one broker."""

    server: EmbeddedPostgres
    data: Path
    kafka: Kafka

    async def prepare(self) -> None:
        """Fresh databases with their tables, stock, and the topics."""
        for service in SERVICES:
            async with fresh_database(self.data, _database(service), SCHEMA.read_text()) as sql:
                await sql.executemany(
                    "INSERT INTO products (id, available) VALUES ($1, $2)",
                    [(product, STOCK) for product in PRODUCTS],
                )
        await self.kafka.create(TOPICS)

    @asynccontextmanager
    async def running(
        self, *services: str, orders: int = 0, relay_only: bool = False
    ) -> AsyncIterator[None]:
        """These services, once they are ready; `orders` are placed before."""
        async with AsyncExitStack() as stack:
            for service in reversed(services):
                placed = orders if service == "order" else 0
                await stack.enter_async_context(self._worker(service, placed, relay_only))
            yield

    @asynccontextmanager
    async def _worker(self, service: str, orders: int, relay_only: bool) -> AsyncIterator[None]:  # noqa: FBT001 - private
        process = await asyncio.create_subprocess_exec(
            *(str(await prepared()), "-m", "benchmarks.seed_design.worker"),
            *("--service", service, "--url", self.server.url(_database(service))),
            *("--bootstrap", self.kafka.bootstrap, "--orders", str(orders)),
            *(["--relay-only"] if relay_only else []),
            *("--products", *PRODUCTS),
            cwd=HERE.parent,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None  # noqa: S101 - asked for
        assert process.stdout is not None  # noqa: S101 - asked for
        try:
            async with asyncio.timeout(START_SECONDS):
                await process.stdout.readline()
            yield
            process.stdin.close()
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def value(self, service: str, statement: str, *arguments: object) -> int:
        """The first column of the first row."""
        async with connected(self.data, database=_database(service)) as sql:
            return int(await sql.fetchval(statement, *arguments))

    async def rows(self, statement: str) -> Sequence[asyncpg.Record]:
        """Rows of the order service's database."""
        async with connected(self.data, database=_database("order")) as sql:
            return list(await sql.fetch(statement))

    async def confirmed(self) -> int:
        """Orders that are confirmed by now."""
        return await self.value("order", CONFIRMED)

    async def fill_outbox(self, rows: int) -> None:
        """So many unpublished events in the order service's outbox, as POST writes them."""
        event = {
            "eventType": "OrderCreated",
            "version": 1,
            "payload": {
                "items": [
                    {"productId": product, "quantity": 1, "unitPrice": "19.99"}
                    for product in PRODUCTS[:2]
                ]
            },
        }
        statement = (
            "INSERT INTO outbox_events (id, topic, aggregate_id, event_type, payload) "
            "SELECT gen_random_uuid(), 'order-events', gen_random_uuid(), 'OrderCreated', $2 "
            "FROM generate_series(1, $1)"
        )
        async with connected(self.data, database=_database("order")) as sql:
            await sql.execute(statement, rows, json.dumps(event))


def _database(service: str) -> str:
    return f"seed_{service}"

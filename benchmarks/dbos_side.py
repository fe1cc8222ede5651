"""The side that is DBOS: its processes on a database of their own, and its books checked after."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from benchmarks.cluster import connected, fresh_database
from benchmarks.environment import HERE, prepared
from benchmarks.proof import AuditFailedError
from waybill.operations.load import PRODUCTS
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

DATABASE: Final = "dbosdb"
STOCK: Final = 1_000_000_000
SAGA: Final = HERE / "dbos_saga"
DRAIN_SECONDS_MAX: Final = 60.0

# Each row of what does not add up; as Waybill's audit, though shorter.
CHECK: Final = """
SELECT 'order without its rows', o.id::text FROM orders o
LEFT JOIN charges c ON c.order_id = o.id LEFT JOIN payments p ON p.order_id = o.id
LEFT JOIN reservations r ON r.order_id = o.id LEFT JOIN notifications n ON n.order_id = o.id
WHERE o.status <> 'CONFIRMED' OR c.amount IS DISTINCT FROM o.total_amount
   OR p.amount IS DISTINCT FROM o.total_amount OR r.status IS DISTINCT FROM 'COMMITTED'
   OR n.order_id IS NULL
   OR (SELECT count(*) FROM order_timeline t WHERE t.order_id = o.id) <> 3
UNION ALL
SELECT 'stock that is not its ledger', p.id::text FROM products p
LEFT JOIN LATERAL (
    SELECT sum(d_available) AS available, sum(d_reserved) AS reserved, sum(d_sold) AS sold
    FROM stock_ledger l WHERE l.product_id = p.id
) l ON true
WHERE p.available <> $1 + coalesce(l.available, 0) OR p.reserved <> coalesce(l.reserved, 0)
   OR p.sold <> coalesce(l.sold, 0) OR p.reserved <> 0
LIMIT 5
"""


class DbosError(Exception):
    """A process of the baseline failed."""


@dataclass(frozen=True)
class Setting:
    """One way to run DBOS."""

    style: Literal["step", "async step", "transaction"] = "step"
    start: Literal["direct", "queue"] = "direct"
    processes: int = 1
    concurrency: int = 8
    """Orders in flight in each process."""
    poll_seconds: float = 0.01
    """Of the queue, if it is used."""

    def __str__(self) -> str:
        how = f"{self.style}s, {self.start}"
        poll = f" polled each {self.poll_seconds * 1000:g} ms" if self.start == "queue" else ""
        return f"{how}{poll}, {self.processes} x {self.concurrency}"


def first_settings() -> Iterator[Setting]:
    """The sizes to try with the leanest kind of step, which starts without a queue."""
    for processes in (1, 2):
        for concurrency in (4, 8, 16):
            yield Setting(processes=processes, concurrency=concurrency)


def further_settings(best: Setting) -> Iterator[Setting]:
    """What else DBOS offers, at the best size."""
    for concurrency in {8, best.concurrency}:
        yield replace(best, style="async step", concurrency=concurrency)
    yield replace(best, style="transaction")
    for poll in (0.01, 0.1):
        yield replace(best, start="queue", poll_seconds=poll)


async def confirmed_a_second(data: Path, setting: Setting, warm_up: float, seconds: float) -> float:
    """Orders confirmed a second by these processes, on an own server of these data."""
    async with EmbeddedPostgres(data) as server:
        await _database(data)
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(_worker(server, setting, number, warm_up, seconds))
                for number in range(setting.processes)
            ]
            for worker in workers:
                await _expect(worker, b"ready")
            for worker in workers:
                assert worker.stdin is not None  # noqa: S101 - asked for a pipe
                worker.stdin.write(b"go\n")
            said = [
                json.loads(await _line(worker, warm_up + seconds + DRAIN_SECONDS_MAX))
                for worker in workers
            ]
        await _check(data, sum(found["total"] for found in said))
    return float(sum(found["confirmed"] / found["seconds"] for found in said))


async def _database(data: Path) -> None:
    schema = (SAGA / "schema.sql").read_text()
    async with fresh_database(data, DATABASE, schema) as connection:
        await connection.executemany(
            "INSERT INTO products (id, available) VALUES ($1, $2)",
            [(product, STOCK) for product in PRODUCTS],
        )


@asynccontextmanager
async def _worker(
    server: EmbeddedPostgres, setting: Setting, number: int, warm_up: float, seconds: float
) -> AsyncIterator[asyncio.subprocess.Process]:
    options = asdict(setting) | {"warm_up_seconds": warm_up, "seconds": seconds}
    del options["processes"]
    process = await asyncio.create_subprocess_exec(
        *(str(await prepared()), "-m", "benchmarks.dbos_saga.worker"),
        *("--executor", f"worker-{number}"),
        *(part for name, value in options.items() for part in _option(name, value)),
        *("--url", server.url(DATABASE), "--products", *PRODUCTS),
        cwd=HERE.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _option(name: str, value: object) -> tuple[str, str]:
    return f"--{name.replace('_', '-')}", str(value)


async def _expect(worker: asyncio.subprocess.Process, word: bytes) -> None:
    if (said := await _line(worker, DRAIN_SECONDS_MAX)) != word:
        raise DbosError(f"it said {said!r} and not {word!r}")


async def _line(worker: asyncio.subprocess.Process, seconds: float) -> bytes:
    assert worker.stdout is not None  # noqa: S101 - asked for pipes
    assert worker.stderr is not None  # noqa: S101 - as above
    line = await asyncio.wait_for(worker.stdout.readline(), seconds)
    if not line:
        raise DbosError((await worker.stderr.read()).decode(errors="replace")[-500:])
    return line.strip()


async def _check(data: Path, wanted: int) -> None:
    async with connected(data, database=DATABASE) as connection:
        wrong = await connection.fetch(CHECK, STOCK)
        found = await connection.fetchval("SELECT count(*) FROM orders")
    if wrong or found != wanted:
        shown = ", ".join(f"{row[0]}: {row[1]}" for row in wrong)
        raise AuditFailedError(f"DBOS: {found} orders of {wanted}; {shown or 'nothing else'}")

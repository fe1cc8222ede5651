"""R9: WAL flushes and row versions an order, at half of what the platform can take.

The seed's design is not run: its counts were measured once (its Java services at their own half
load). Ours come from PostgreSQL's statistics of the whole server, read after a clean stop, when
every backend has reported its own; what a platform does without any order in the same time is
measured the same way and taken off.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.cluster import connected, value
from benchmarks.load_side import Scenario, fill, load, settled
from benchmarks.pairs import Spread, alternate
from benchmarks.platform_processes import running
from benchmarks.proof import prove
from benchmarks.report import Result
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import SERVICES, SIMULATOR

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget

SEED_COMMITS: Final = 19.6
SEED_INSERTS, SEED_UPDATES = 16.6, 7.8
"""An order of the seed's reference services, measured on two cores."""
SHOWN_FROM: Final = 0.01
"""Row versions an order below which a table is not told."""

# Since PostgreSQL 18 pg_stat_io counts the syncs of the journal, by who made them. Start-up and
# checkpoints are the server's own.
FLUSHES: Final = """
SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io
WHERE object = 'wal' AND backend_type NOT IN ('startup', 'checkpointer', 'standalone backend')
"""
VERSIONS: Final = """
SELECT schemaname || '.' || regexp_replace(relname, '_[0-9]+$', ''), sum(n_tup_ins)::bigint,
       sum(n_tup_upd)::bigint
FROM pg_stat_user_tables GROUP BY 1
"""
"""Bookkeeping included: positions, leases, reports. The partitions of a table are one."""
OUTSIDE: Final = SIMULATOR
"""The simulated provider stands for the outside world; the seed's kept no ledger at all."""


@dataclass(frozen=True)
class Counts:
    """What the server did since its data were made."""

    flushes: int
    orders: int
    tables: dict[str, tuple[int, int]] = field(repr=False)
    """Rows inserted and updated, by service and table."""

    def since(self, before: Counts) -> Counts:
        """What was done after `before` was counted."""
        tables = {
            name: (inserted - was[0], updated - was[1])
            for name, (inserted, updated) in self.tables.items()
            for was in [before.tables.get(name, (0, 0))]
        }
        return Counts(self.flushes - before.flushes, self.orders - before.orders, tables)


@dataclass(frozen=True)
class Work:
    """What one order cost, beyond what an idle platform does."""

    flushes: float
    tables: dict[str, tuple[float, float]]
    """Rows inserted and updated, by service and table; the outside world's too."""

    @property
    def inserted(self) -> float:
        """Rows inserted by the services."""
        return sum(inserted for inserted, _ in self._own())

    @property
    def updated(self) -> float:
        """Rows updated by the services."""
        return sum(updated for _, updated in self._own())

    @property
    def outside(self) -> float:
        """Row versions of the simulated provider."""
        return sum(map(sum, self.tables.values())) - self.inserted - self.updated

    def _own(self) -> list[tuple[float, float]]:
        return [rows for name, rows in self.tables.items() if not name.startswith(f"{OUTSIDE} ")]


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Find the maximum once, then alternate idle and loaded runs."""
    most = await bench.waybill(Scenario(), "the maximum")
    rate = most.confirmed / 2

    async def idle() -> Counts:
        return await _counted(bench, 0.0)

    async def loaded() -> Counts:
        return await _counted(bench, rate)

    found = await alternate({"idle": idle, "loaded": loaded}, bench.effort.rounds, budget)
    works = [_work(busy, idle) for busy, idle in zip(found["loaded"], found["idle"], strict=True)]
    flushes = [work.flushes for work in works]
    versions = [work.inserted + work.updated for work in works]
    seed_versions = SEED_INSERTS + SEED_UPDATES
    details = {"orders/s": rate, "counts": found, "an order": works}
    note = (
        f"at {rate:.0f} orders/s, two lines each; the seed's counts are constants of an earlier "
        "measurement; its simulated payment kept no ledger, so the rows of ours "
        f"({Spread.of([work.outside for work in works]).median:.1f} an order) are not counted"
    )
    return [
        Result(
            "R9 flushes",
            Spread.of([SEED_COMMITS / each for each in flushes]),
            {"seed, commits an order": Spread.of([SEED_COMMITS]), "ours": Spread.of(flushes)},
            notes=[note],
            details=details,
        ),
        Result(
            "R9 rows",
            Spread.of([seed_versions / each for each in versions]),
            {
                "seed, row versions an order": Spread.of([seed_versions]),
                "ours": Spread.of(versions),
                "inserted": Spread.of([work.inserted for work in works]),
                "updated": Spread.of([work.updated for work in works]),
            },
            details=details,
        ),
    ]


def _work(busy: Counts, idle: Counts) -> Work:
    orders = busy.orders
    tables = {
        name: ((inserted - was[0]) / orders, (updated - was[1]) / orders)
        for name, (inserted, updated) in sorted(busy.tables.items())
        for was in [idle.tables.get(name, (0, 0))]
    }
    written = {name: rows for name, rows in tables.items() if max(rows) >= SHOWN_FROM}
    return Work((busy.flushes - idle.flushes) / orders, written)


async def _counted(bench: Bench, rate: float) -> Counts:
    """Run a platform at this rate, 0 for idle, and read the statistics once it has stopped."""
    with bench.scratch.fresh(bench.name("counted")) as data:
        before = await _counts(data)
        async with running(data, "one process") as platform:
            await fill(platform)
            if rate:
                await load(platform, bench.effort, Scenario(rate=rate))
                await settled(data)
            else:
                await asyncio.sleep(bench.effort.warm_up_seconds + bench.effort.seconds)
        counts = await _counts(data)
        if rate:
            async with EmbeddedPostgres(data):
                await prove(data)
    found = counts.since(before)
    bench.say(f"  {found}")
    return found


async def _counts(data: Path) -> Counts:
    async with EmbeddedPostgres(data):
        async with connected(data) as connection:
            flushes = await connection.fetchval(FLUSHES)
        tables: dict[str, tuple[int, int]] = {}
        for service in SERVICES:
            async with connected(data, service) as connection:
                for name, inserted, updated in await connection.fetch(VERSIONS):
                    tables[f"{service} {name}"] = (inserted, updated)
        orders = await value(data, "order", "SELECT count(*) FROM app.orders")
    return Counts(int(flushes), int(orders), tables)

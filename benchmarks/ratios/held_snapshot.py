"""R13: what a snapshot that somebody holds open does to the readers of the outboxes.

One run is one long load at full speed. Its first window is the baseline. Then a snapshot is opened
in every database and held; the last window under it is compared. Both are cut into parts, which
make the pairs. That the tables grow meanwhile is counted against the held side.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from benchmarks.cluster import connected
from benchmarks.load_side import Scenario, fill, look, rates_between, settled, under_load
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.platform_processes import running
from benchmarks.proof import prove
from benchmarks.report import Result
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import SERVICES, SIMULATOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.effort import Effort
    from benchmarks.pairs import Budget
    from benchmarks.platform_processes import PlatformProcesses

# What was updated or deleted was dead for a while, even if it was vacuumed since.
DEAD: Final = """
SELECT coalesce(sum(greatest(n_dead_tup, n_tup_upd + n_tup_del)), 0)::bigint
FROM pg_stat_user_tables JOIN pg_inherits ON inhrelid = relid
WHERE inhparent = 'messaging.outbox'::regclass
"""


@dataclass(frozen=True)
class Run:
    """Messages read a second in each part of both windows, and rows of outboxes that died."""

    before: list[float]
    held: list[float]
    dead: int


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Some runs, each on fresh data."""

    async def side() -> Run:
        with bench.scratch.fresh(bench.name("snapshot")) as data:
            found = await _run(data, bench.effort)
        bench.say(f"  {found}")
        return found

    found = await alternate({"runs": side}, bench.effort.snapshot_rounds, budget)
    runs = found["runs"]
    before = [rate for run in runs for rate in run.before]
    held = [rate for run in runs for rate in run.held]
    dead = [float(run.dead) for run in runs]
    sides = {"held, messages/s": Spread.of(held), "before": Spread.of(before)}
    note = f"the snapshot was open for {bench.effort.snapshot_seconds:g} s, in every database"
    return [
        Result("R13 reader", ratio(held, before), sides, notes=[note], details={"runs": runs}),
        Result("R13 dead", Spread.of(dead), details={"runs": runs}),
    ]


async def _run(data: Path, effort: Effort) -> Run:
    window, hold = effort.snapshot_window_seconds, effort.snapshot_seconds
    seconds = effort.warm_up_seconds + window + hold
    async with running(data, "one process") as platform:
        await fill(platform)
        async with under_load(platform, effort, Scenario(), seconds):
            await asyncio.sleep(effort.warm_up_seconds)
            before = await _window(platform, effort)
            async with held_snapshots(data):
                await asyncio.sleep(hold - window)
                held = await _window(platform, effort)
        await settled(data)
        await prove(data)
    return Run(before, held, await _dead(data))


async def _window(platform: PlatformProcesses, effort: Effort) -> list[float]:
    """Messages read a second in each part of a window that begins now."""
    looks = [await look(platform)]
    for _ in range(effort.snapshot_windows):
        await asyncio.sleep(effort.snapshot_window_seconds / effort.snapshot_windows)
        looks.append(await look(platform))
    return [rates_between(*two).read for two in pairwise(looks)]


@asynccontextmanager
async def held_snapshots(data: Path) -> AsyncIterator[None]:
    """Nothing that was there when this began can be vacuumed before it ends."""
    async with AsyncExitStack() as stack:
        for service in SERVICES:
            connection = await stack.enter_async_context(connected(data, service))
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await connection.fetchval("SELECT count(*) FROM pg_class")  # takes the snapshot
        yield


async def _dead(data: Path) -> int:
    """Read after a clean stop, when every backend has reported."""
    dead = 0
    async with EmbeddedPostgres(data):
        for service in SERVICES:
            if service != SIMULATOR:
                async with connected(data, service) as connection:
                    dead += int(await connection.fetchval(DEAD))
    return dead

"""R13: what a snapshot that somebody holds open does to who reads outboxes.

A consumer alone, with nothing to do for a message, under the snapshot, and before and after it;
and the platform at full speed: its first window is the baseline, the last one under the snapshot is
compared. Windows are cut into parts, which make the pairs. That the tables of the platform grow
meanwhile is counted against the held side.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from benchmarks import reader_side
from benchmarks.cluster import connected, held_snapshots
from benchmarks.load_side import Scenario, fill, look, rates_between, settled, under_load
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.platform_processes import running
from benchmarks.proof import prove
from benchmarks.report import Result, shown
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import SERVICES, SIMULATOR, database_of

if TYPE_CHECKING:
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
    """Messages read a second in each part of both windows; rows of outboxes that died."""

    before: list[float]
    held: list[float]
    dead: int


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """The platform once, then a consumer alone some times; each on fresh data."""
    platform = await _platform(bench)
    sides: dict[str, list[float]] = {"free": [], "held": []}

    async def side() -> None:
        with bench.scratch.fresh(bench.name("reader")) as data:
            free, held = await reader_side.snapshot_rates(data, bench.effort)
        bench.say(f"  a consumer alone, messages/s: free {free}, held {held}")
        sides["free"] += free
        sides["held"] += held

    await alternate({"runs": side}, bench.effort.snapshot_rounds, budget)
    seconds = f"the snapshot was open for {bench.effort.snapshot_seconds:g} s, in every database"
    whole = shown(ratio(platform.held, platform.before), "x")
    return [
        Result(
            "R13 reader",
            ratio(sides["held"], sides["free"]),
            {f"{name}, messages/s": Spread.of(sides[name]) for name in ("held", "free")},
            notes=[seconds, f"all of the platform flat out, its rows of stock included: {whole}"],
            details=sides,
        ),
        Result("R13 dead", Spread.of([float(platform.dead)]), details={"run": platform}),
    ]


async def _platform(bench: Bench) -> Run:
    with bench.scratch.fresh(bench.name("snapshot")) as data:
        found = await _run(data, bench.effort)
    bench.say(f"  {found}")
    return found


async def _run(data: Path, effort: Effort) -> Run:
    window, hold = effort.snapshot_window_seconds, effort.snapshot_seconds
    seconds = effort.warm_up_seconds + window + hold
    async with running(data, "one process") as platform:
        await fill(platform)
        async with under_load(platform, effort, Scenario(), seconds):
            await asyncio.sleep(effort.warm_up_seconds)
            before = await _window(platform, effort)
            async with held_snapshots(data, map(database_of, SERVICES)):
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


async def _dead(data: Path) -> int:
    """Read after a clean stop, when every backend has reported."""
    dead = 0
    async with EmbeddedPostgres(data):
        for service in SERVICES:
            if service != SIMULATOR:
                async with connected(data, service) as connection:
                    dead += int(await connection.fetchval(DEAD))
    return dead

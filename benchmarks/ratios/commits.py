"""R4 and R5: accepted and confirmed orders a second to what pgbench commits at all.

Both of Waybill's topologies run in every round; the one that confirms more counts for R5, and the
one that accepts more for R4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.load_side import Scenario
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.pgbench import CLIENTS, single_row_commits
from benchmarks.platform_processes import TOPOLOGIES
from benchmarks.report import Result, figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from benchmarks.bench import Bench
    from benchmarks.load_side import Rates
    from benchmarks.pairs import Budget
    from benchmarks.platform_processes import Topology

    Figures = Mapping[Topology, list[float]]


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Sweep pgbench's clients, then alternate its best with both topologies."""
    sweep = {clients: await _pgbench(bench, clients, sweep=True) for clients in CLIENTS}
    best = max(sweep, key=lambda clients: sweep[clients])
    commits: list[float] = []
    rates: dict[Topology, list[Rates]] = {topology: [] for topology in TOPOLOGIES}

    async def pgbench() -> None:
        commits.append(await _pgbench(bench, best))

    def waybill(topology: Topology) -> Callable[[], Awaitable[None]]:
        async def side() -> None:
            rates[topology].append(await bench.waybill(Scenario(topology), topology))

        return side

    sides: dict[str, Callable[[], Awaitable[None]]] = {"pgbench": pgbench}
    for topology in TOPOLOGIES:
        sides[topology] = waybill(topology)
    await alternate(sides, bench.effort.rounds, budget)
    accepted = {name: [rate.accepted for rate in found] for name, found in rates.items()}
    confirmed = {name: [rate.confirmed for rate in found] for name, found in rates.items()}
    bench.best_topology = _best(confirmed)
    details = {"pgbench": commits, "pgbench by clients": sweep}
    swept = "; ".join(f"{clients} clients: {figure(rate)}" for clients, rate in sweep.items())
    accepting = _result("R4", accepted, commits, best, details | {"accepted": accepted})
    return [
        replace(accepting, notes=[f"pgbench swept, commits/s: {swept}"]),
        _result("R5", confirmed, commits, best, details | {"confirmed": confirmed}),
    ]


def _best(figures: Figures) -> Topology:
    return max(figures, key=lambda name: Spread.of(figures[name]).median)


def _result(
    number: str,
    figures: Figures,
    commits: list[float],
    clients: int,
    details: Mapping[str, object],
) -> Result:
    best = _best(figures)
    sides: dict[str, list[float]] = {best: figures[best], f"pgbench, {clients} clients": commits}
    sides |= {str(name): found for name, found in figures.items()}
    return Result(
        number,
        ratio(figures[best], commits),
        {name: Spread.of(found) for name, found in sides.items()},
        details=details,
    )


async def _pgbench(bench: Bench, clients: int, *, sweep: bool = False) -> float:
    with bench.scratch.fresh(bench.name("pgbench")) as data:
        seconds = bench.effort.sweep_seconds if sweep else bench.effort.seconds
        found = await single_row_commits(data, clients, seconds)
    bench.say(f"  pgbench, {clients} clients: {found:.0f} commits/s")
    return found

"""R4 and R5: accepted and confirmed orders a second to what pgbench commits at all.

R4 is the intake: the order service runs alone, and the others take its orders to their end after
the load. For R5 both of Waybill's topologies run; the one that confirms more counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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

INTAKE: Final = "order service alone"


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Sweep pgbench's clients, then alternate its best with both topologies."""
    sweep = {clients: await _pgbench(bench, clients, sweep=True) for clients in CLIENTS}
    best = max(sweep, key=lambda clients: sweep[clients])
    commits: list[float] = []
    accepted: list[float] = []
    rates: dict[Topology, list[Rates]] = {topology: [] for topology in TOPOLOGIES}

    async def pgbench() -> None:
        commits.append(await _pgbench(bench, best))

    def waybill(topology: Topology) -> Callable[[], Awaitable[None]]:
        async def side() -> None:
            rates[topology].append(await bench.waybill(Scenario(topology), topology))

        return side

    async def intake() -> None:
        rates_alone = await bench.waybill(Scenario("a process a service", alone="order"), INTAKE)
        accepted.append(rates_alone.accepted)

    sides: dict[str, Callable[[], Awaitable[None]]] = {"pgbench": pgbench, INTAKE: intake}
    for topology in TOPOLOGIES:
        sides[topology] = waybill(topology)
    await alternate(sides, bench.effort.rounds, budget)
    confirmed = {name: [rate.confirmed for rate in found] for name, found in rates.items()}
    bench.best_topology = _best(confirmed)
    details: dict[str, object] = {"pgbench": commits, "pgbench by clients": sweep}
    swept = "; ".join(f"{clients} clients: {figure(rate)}" for clients, rate in sweep.items())
    baseline = {f"pgbench, {best} clients": Spread.of(commits)}
    topologies = {str(name): Spread.of(found) for name, found in confirmed.items()}
    return [
        Result(
            "R4",
            ratio(accepted, commits),
            {INTAKE: Spread.of(accepted)} | baseline,
            notes=[f"pgbench swept, commits/s: {swept}"],
            details=details | {"accepted": accepted},
        ),
        Result(
            "R5",
            ratio(confirmed[bench.best_topology], commits),
            baseline | topologies,
            details=details | {"confirmed": confirmed},
        ),
    ]


def _best(figures: Mapping[Topology, list[float]]) -> Topology:
    return max(figures, key=lambda name: Spread.of(figures[name]).median)


async def _pgbench(bench: Bench, clients: int, *, sweep: bool = False) -> float:
    with bench.scratch.fresh(bench.name("pgbench")) as data:
        seconds = bench.effort.sweep_seconds if sweep else bench.effort.seconds
        found = await single_row_commits(data, clients, seconds)
    bench.say(f"  pgbench, {clients} clients: {found:.0f} commits/s")
    return found

"""The relay: R1 and R2 to seed 003's, R8 to raw librdkafka, R13 to itself under a held snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import relay_side
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.report import Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.effort import Effort
    from benchmarks.pairs import Budget

    Measured = Callable[[Path, Effort], Awaitable[float]]

OURS, SEEDS, RAW = "Waybill's relay", "seed 003's relay", "librdkafka alone"


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Backlogs in turn, then latencies in turn, then a snapshot."""
    effort = bench.effort
    sides = {
        SEEDS: _side(bench, f"{SEEDS}, events/s", relay_side.seed_rate),
        OURS: _side(bench, f"{OURS}, events/s", relay_side.our_rate),
        RAW: _side(bench, f"{RAW}, events/s", relay_side.raw_rate),
    }
    rates = await alternate(sides, effort.rounds, budget)
    sides = {
        SEEDS: _side(bench, f"{SEEDS}, p50 in seconds", relay_side.seed_latency),
        OURS: _side(bench, f"{OURS}, p50 in seconds", relay_side.our_latency),
    }
    latencies = await alternate(sides, effort.rounds, budget)
    with bench.scratch.fresh(bench.name("snapshot")) as data:
        before, held = await relay_side.snapshot_rates(data, effort)
    return [
        _compared("R1", rates, OURS, SEEDS, "events/s"),
        _compared("R2", latencies, SEEDS, OURS, "p50 in seconds at 50 events/s"),
        _compared("R8 relay", rates, OURS, RAW, "events/s"),
        _compared("R13 relay", {"held": held, "before": before}, "held", "before", "events/s"),
    ]


def _side(bench: Bench, name: str, measured: Measured) -> Callable[[], Awaitable[float]]:
    async def side() -> float:
        with bench.scratch.fresh(bench.name("relay")) as data:
            found = await measured(data, bench.effort)
        bench.say(f"  {name}: {found:.4g}")
        return found

    return side


def _compared(
    number: str, found: dict[str, list[float]], upper: str, lower: str, unit: str
) -> Result:
    sides = {f"{name}, {unit}": Spread.of(found[name]) for name in (upper, lower)}
    return Result(number, ratio(found[upper], found[lower]), sides, details=found)

"""What ratios of Waybill to itself have in common: two scenarios in turn, on fresh data each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.report import Result

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load_side import Scenario
    from benchmarks.pairs import Budget


async def compare(
    bench: Bench,
    budget: Budget,
    number: str,
    upper: tuple[str, Scenario],
    lower: tuple[str, Scenario],
) -> Result:
    """The confirmed orders a second of the one scenario to those of the other."""
    sides = dict([upper, lower])

    async def first() -> float:
        return (await bench.waybill(sides[upper[0]], upper[0])).confirmed

    async def second() -> float:
        return (await bench.waybill(sides[lower[0]], lower[0])).confirmed

    found = await alternate({upper[0]: first, lower[0]: second}, bench.effort.rounds, budget)
    return Result(
        number,
        ratio(found[upper[0]], found[lower[0]]),
        {name: Spread.of(figures) for name, figures in found.items()},
        details=found,
    )

"""R16: throughput with very many orders in the tables to throughput with few.

Both sides begin with orders that were placed over HTTP, multiplied in the databases (multiply.py).
The small side is a fresh copy every time. The large one is too big for that: it is used again and
grows by what is measured, and is audited once, at the end: if that fails, no number.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.cluster import sync, value
from benchmarks.load_side import Scenario
from benchmarks.load_side import measure as measure_side
from benchmarks.multiply import multiply
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.platform_processes import running
from benchmarks.proof import prove
from benchmarks.report import Result

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget

PLACED: Final = 1_000
"""Really placed, and then multiplied."""
PLACING_RATE: Final = 300.0
ROUNDS_SHARE: Final = 0.6
"""Of the time that filling leaves; the rest is for the audit of the large side."""


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Fill both sides, then take turns."""
    few, many = bench.effort.orders_few, bench.effort.orders_many
    placed = await _placed(bench)
    small = await _filled(bench, "small", few)
    large = await _filled(bench, "large", many)

    async def on_few() -> float:
        data = bench.scratch.copy(bench.name("few"), small.name)
        try:
            return (await bench.waybill_on(data, Scenario(), f"{few} orders")).confirmed
        finally:
            bench.scratch.remove(data)

    async def on_many() -> float:
        rates = await bench.waybill_on(large, Scenario(), f"{many} orders", audit=False)
        return rates.confirmed

    rounds = budget.part(ROUNDS_SHARE)
    found = await alternate({"few": on_few, "many": on_many}, bench.effort.rounds, rounds)
    async with running(large, "one process"):
        await prove(large)
    for data in (placed, small, large):
        bench.scratch.remove(data)
    return [
        Result(
            "R16",
            ratio(found["many"], found["few"]),
            {f"{many:,} orders": Spread.of(found["many"]), f"{few:,}": Spread.of(found["few"])},
            details=found,
        )
    ]


async def _placed(bench: Bench) -> Path:
    """Data on which some orders were placed and finished."""
    data = bench.scratch.copy("placed")
    effort = replace(bench.effort, warm_up_seconds=0.0, seconds=PLACED / PLACING_RATE)
    await measure_side(data, effort, Scenario(rate=PLACING_RATE))
    return data


async def _filled(bench: Bench, name: str, orders: int) -> Path:
    """Data with about so many finished orders."""
    data = bench.scratch.copy(name, "placed")
    async with running(data, "one process"):
        there = int(await value(data, "order", "SELECT count(*) FROM app.orders"))
    began = bench.budget.used()
    await multiply(data, orders // there - 1)
    await asyncio.to_thread(sync, data)
    bench.say(f"  {orders:,} orders filled in, in {bench.budget.used() - began:.0f} s")
    return data

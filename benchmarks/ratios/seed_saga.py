"""R6: confirmed orders a second to the design of seed 003, both on Kafka and PostgreSQL.

The baseline has it easier: its orders were placed before, by statements, and no payment is called.
Its rate is bound by its relay, which it has by design: a hundred events each half second and more.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final

from benchmarks.kafka_broker import running_kafka
from benchmarks.load_side import Scenario
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.proof import AuditFailedError
from benchmarks.report import Result
from benchmarks.seed_side import BROKEN, SERVICES, STOCK, Seed
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget

RATE_MAX: Final = 300.0
"""More orders a second than its relay can carry: it always has some to publish."""


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """In turn, on fresh data and a fresh broker each."""

    async def seed() -> float:
        return await _seed(bench)

    async def waybill() -> float:
        scenario = Scenario("a process a service", kafka=True)
        return (await bench.waybill(scenario, "Waybill on Kafka")).confirmed

    found = await alternate({"seed": seed, "waybill": waybill}, bench.effort.rounds, budget)
    sides = {
        "Waybill on Kafka, a process a service": Spread.of(found["waybill"]),
        "the design of seed 003": Spread.of(found["seed"]),
    }
    return [Result("R6", ratio(found["waybill"], found["seed"]), sides, details=found)]


async def _seed(bench: Bench) -> float:
    effort = bench.effort
    orders = math.ceil((effort.warm_up_seconds + effort.seconds) * RATE_MAX)
    with bench.scratch.fresh(bench.name("seed")) as data:
        async with EmbeddedPostgres(data) as server, running_kafka(data) as kafka:
            seed = Seed(server, data, kafka)
            await seed.prepare()
            async with seed.running(*SERVICES, orders=orders):
                while not await seed.confirmed():  # noqa: ASYNC110 - rows have no event
                    await asyncio.sleep(0.1)
                await asyncio.sleep(effort.warm_up_seconds)
                began, before = time.monotonic(), await seed.confirmed()
                await asyncio.sleep(effort.seconds)
                rate = (await seed.confirmed() - before) / (time.monotonic() - began)
            if await seed.value("inventory", BROKEN, STOCK):
                raise AuditFailedError("the baseline's stock does not add up")
    bench.say(f"  the design of seed 003: {rate:.0f} confirmed/s")
    return rate

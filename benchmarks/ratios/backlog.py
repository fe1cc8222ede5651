"""R15: a backlog of events that nobody read is worked off, to what is carried while it arises.

The order service runs alone until so many orders stand in its outbox (on Kafka: in the topic); then
the others come, and no more orders. The rate is from their readiness to the last confirmation.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.cluster import CannotMeasureError
from benchmarks.kafka_broker import running_kafka
from benchmarks.load_side import Scenario, fill, look, settled, under_load
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.platform_processes import running
from benchmarks.proof import prove
from benchmarks.report import Result
from waybill.operations.bench.backlog import drained
from waybill.operations.bench.figures import Sample
from waybill.operations.bench.processes import python_usage

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load_side import Look
    from benchmarks.pairs import Budget
    from benchmarks.platform_processes import PlatformProcesses, Topology
    from waybill.operations.bench.backlog import Drained

FILL_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.5
STALLED_SECONDS: Final = 60.0
APART: Final[Topology] = "a process a service"


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """The outboxes, then Kafka."""
    half = budget.part(0.5)
    return [*await _measure(bench, half, "outboxes"), *await _measure(bench, budget, "Kafka")]


async def _measure(bench: Bench, budget: Budget, log: str) -> list[Result]:
    """The steady rate and the backlog in turn."""
    kafka = log == "Kafka"
    found: list[Drained] = []

    async def steady() -> float:
        return (await bench.waybill(Scenario(APART, kafka=kafka), f"{log}, steady")).confirmed

    async def drain() -> float:
        found.append(await _drain(bench, kafka=kafka))
        bench.say(f"  {log}: {found[-1]}")
        return found[-1].per_second

    sides = {"backlog": drain, "steady": steady}
    return _results(log, await alternate(sides, bench.effort.backlog_rounds, budget), found)


def _results(log: str, found: dict[str, list[float]], each_time: list[Drained]) -> list[Result]:
    details = {**found, "drained": [msgspec.to_builtins(each) for each in each_time]}
    sides = {f"{side}, orders/s": Spread.of(rates) for side, rates in found.items()}
    grown = [each.growth for each in each_time]
    return [
        Result(f"R15 {log}", ratio(found["backlog"], found["steady"]), sides),
        Result(f"R15 memory, {log}", Spread.of(grown), details=details),
    ]


async def _drain(bench: Bench, *, kafka: bool) -> Drained:
    effort = bench.effort
    async with AsyncExitStack() as stack:
        data = stack.enter_context(bench.scratch.fresh(bench.name("backlog")))
        environment = {}
        if kafka:
            broker = await stack.enter_async_context(running_kafka(data))
            environment["KAFKA_BROKERS"] = broker.bootstrap
        platform = await stack.enter_async_context(running(data, APART, environment))
        await fill(platform)
        await platform.stop(but="order")
        while (await look(platform)).created < effort.backlog_orders:
            async with under_load(platform, effort, Scenario(APART), FILL_SECONDS):
                pass
        await platform.start()
        found = await _drained(platform)
        await settled(data)
        await prove(data)
    return found


async def _drained(platform: PlatformProcesses) -> Drained:
    """Watch until every order is confirmed. Raises CannotMeasureError if it stands still."""
    last = await look(platform)
    samples = [_sample(platform, last)]
    changed = last.at
    while last.confirmed < last.created:
        await asyncio.sleep(LOOK_SECONDS)
        now = await look(platform)
        changed = now.at if now.confirmed > last.confirmed else changed
        if now.at - changed > STALLED_SECONDS:
            raise CannotMeasureError(f"a backlog stands still at {now.confirmed:.0f} orders")
        samples.append(_sample(platform, now))
        last = now
    return drained(samples, round(last.created))


def _sample(platform: PlatformProcesses, found: Look) -> Sample:
    return Sample(
        seconds=found.at,
        accepted=round(found.created),
        confirmed=round(found.confirmed),
        python_bytes=python_usage(platform.pids).memory_bytes,
        postgres_bytes=0,
    )

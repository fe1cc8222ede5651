"""R15: a backlog of events that nobody read is worked off, to what is carried while it arises.

The order service runs alone until so many orders stand in its outbox (on Kafka: in the topic); then
the others come, and no more orders. The rate is from their readiness to the last confirmation.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.cluster import CannotMeasureError
from benchmarks.kafka_broker import running_kafka
from benchmarks.load_side import Scenario, fill, look, settled, under_load
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.platform_processes import running
from benchmarks.proof import prove
from benchmarks.report import Result

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget
    from benchmarks.platform_processes import PlatformProcesses, Topology

FILL_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.5
STALLED_SECONDS: Final = 60.0
APART: Final[Topology] = "a process a service"


@dataclass(frozen=True)
class Drained:
    """Orders a second, how many there were, and the memory of all processes in each half of it."""

    rate: float
    orders: int
    first_bytes_max: float
    second_bytes_max: float


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """The outboxes, then Kafka."""
    half = budget.part(0.5)
    return [*await _measure(bench, half, "outboxes"), *await _measure(bench, budget, "Kafka")]


async def _measure(bench: Bench, budget: Budget, log: str) -> list[Result]:
    """The steady rate and the backlog in turn."""
    kafka = log == "Kafka"
    drained: list[Drained] = []

    async def steady() -> float:
        return (await bench.waybill(Scenario(APART, kafka=kafka), f"{log}, steady")).confirmed

    async def drain() -> float:
        drained.append(await _drain(bench, kafka=kafka))
        bench.say(f"  {log}: {drained[-1]}")
        return drained[-1].rate

    sides = {"backlog": drain, "steady": steady}
    return _results(log, await alternate(sides, bench.effort.backlog_rounds, budget), drained)


def _results(log: str, found: dict[str, list[float]], drained: list[Drained]) -> list[Result]:
    details = {**found, "drained": drained}
    sides = {f"{side}, orders/s": Spread.of(rates) for side, rates in found.items()}
    grown = [each.second_bytes_max / each.first_bytes_max for each in drained]
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
        drained = await _drained(platform)
        await settled(data)
        await prove(data)
    return drained


async def _drained(platform: PlatformProcesses) -> Drained:
    """Watch until every order is confirmed. Raises CannotMeasureError if it stands still."""
    first = last = await look(platform)
    looks = [(last.at, _memory(platform))]
    changed = last.at
    while last.confirmed < last.created:
        await asyncio.sleep(LOOK_SECONDS)
        now = await look(platform)
        changed = now.at if now.confirmed > last.confirmed else changed
        if now.at - changed > STALLED_SECONDS:
            raise CannotMeasureError(f"a backlog stands still at {now.confirmed:.0f} orders")
        looks.append((now.at, _memory(platform)))
        last = now
    middle = (first.at + last.at) / 2
    return Drained(
        rate=(last.confirmed - first.confirmed) / (last.at - first.at),
        orders=round(last.created),
        first_bytes_max=max(used for at, used in looks if at <= middle),
        second_bytes_max=max(used for at, used in looks if at >= middle),
    )


def _memory(platform: PlatformProcesses) -> float:
    """Resident bytes of Python's processes, together."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in platform.pids]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("VmRSS:")]
    return sum(float(line.split()[1]) * 1024 for line in lines)

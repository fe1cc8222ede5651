"""R14: POST to CONFIRMED, p99, at half of the most that is carried; on outboxes and on Kafka.

By `waybill bench`, as anybody would measure it: first flat out, then at half of what was confirmed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from benchmarks.cluster import CannotMeasureError
from benchmarks.kafka_broker import running_kafka
from benchmarks.pairs import Spread, alternate
from benchmarks.report import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget

SETTLE_SECONDS: Final = "2"
"""Row counters, which need longer, are not looked at."""
LOGS: Final = {"outboxes": (), "Kafka": ("--log", "kafka", "--processes")}
"""One process on its outboxes, as `waybill up` starts it; a process a service on Kafka."""


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Some times for each log."""
    sides = {log: partial(_half, bench, log) for log in LOGS}
    found = await alternate(sides, bench.effort.rounds, budget)
    return [_result(log, runs) for log, runs in found.items()]


def _result(log: str, runs: Sequence[tuple[float, float]]) -> Result:
    rates, latencies = zip(*runs, strict=True)
    sides = {"at so many orders/s": Spread.of(rates)}
    return Result(f"R14 {log}", Spread.of(latencies), sides, details={"runs": runs})


async def _half(bench: Bench, log: str) -> tuple[float, float]:
    """The rate, and the 99th percentile in milliseconds."""
    with bench.scratch.fresh(bench.name("half")) as data:
        out = data / "bench"
        most = (await _bench(data, out, log, bench.effort.seconds, 0.0))["confirmedPerSecond"]
        phase = await _bench(data, out, log, 2 * bench.effort.seconds, most / 2)
    rate, found = phase["acceptedPerSecond"], phase["confirmedSeen"]["p99"]
    bench.say(f"  {log}: p99 {found:.1f} ms at {rate:.0f}/s, half of {most:.0f}/s")
    return rate, found


async def _bench(data: Path, out: Path, log: str, seconds: float, rate: float) -> Mapping[str, Any]:
    """One phase of `waybill bench` on data of its own."""
    async with AsyncExitStack() as stack:
        environment = dict(os.environ)
        if log == "Kafka":
            kafka = await stack.enter_async_context(running_kafka(data))
            environment["KAFKA_BROKERS"] = kafka.bootstrap
        options = ["--rate", f"{rate:.0f}", "--seconds", f"{seconds:g}", "--out", str(out)]
        options += ["--settle-seconds", SETTLE_SECONDS, "--connections", "128", *LOGS[log]]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "waybill", "bench", *options),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
    if process.returncode:
        raise CannotMeasureError(f"waybill bench: {told.decode(errors='replace')[-1000:]}")
    (phase,) = msgspec.json.decode((out / "bench.json").read_bytes())["phases"]
    return dict(phase)

"""`python -m benchmarks`: measure the ratios one after the other, and print and keep the table."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.bench import Bench
from benchmarks.cluster import CannotMeasureError, scratch
from benchmarks.effort import QUICK, Effort
from benchmarks.environment import LOCK
from benchmarks.pairs import Budget
from benchmarks.ratios import (
    backlog,
    commits,
    dbos,
    durable_commits,
    effects,
    half_load,
    held_snapshot,
    hot_product,
    large_tables,
    poison,
    relays,
    seed_saga,
    work_an_order,
)
from benchmarks.report import Result, line, markdown, write
from benchmarks.targets import TARGETS
from waybill.messaging.core.errors import MessagingError
from waybill.operations.bench.durability import read_durability
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.event_loop import run
from waybill.platform.provisioning import urls_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from benchmarks.cluster import Scratch

    Measurement = Callable[[Bench, Budget], Awaitable[list[Result]]]

T = TypeVar("T")
STOPPED = 130
RESULTS = Path(__file__).parent / "results"
MEASUREMENTS: dict[str, tuple[Measurement, float]] = {
    "R1 R2 R8 R13": (relays.measure, 5.0),
    "R3 R8": (effects.measure, 5.0),
    "R6": (seed_saga.measure, 4.0),
    "R4 R5": (commits.measure, 5.5),
    "R7": (dbos.measure, 5.5),
    "R9": (work_an_order.measure, 4.5),
    "R10": (durable_commits.measure, 4.0),
    "R11": (hot_product.measure, 4.0),
    "R12": (poison.measure, 9.0),
    "R13": (held_snapshot.measure, 9.0),
    "R14": (half_load.measure, 6.0),
    "R15": (backlog.measure, 10.0),
    "R16": (large_tables.measure, 16.0),
}
"""Which ratios a module measures, and its share of the time: about the minutes it takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; 0 unless a ratio has no number."""
    options = _parser().parse_args(arguments)
    effort = QUICK if options.quick else Effort()
    given = {
        name: getattr(options, name)
        for name in ("rounds", "seconds", "minutes", "snapshot_seconds", "orders_many")
        if getattr(options, name) is not None
    }
    try:
        results = run(_stoppable(_all(replace(effort, **given), options)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return STOPPED
    except (CannotMeasureError, MessagingError) as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    return 1 if any(result.spread is None for result in results) else 0


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    """SIGTERM, too, ends what was started and removes the scratch data."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _all(effort: Effort, options: argparse.Namespace) -> list[Result]:
    chosen = _chosen(options.only)
    budget = Budget(effort.minutes * 60)
    results: list[Result] = []
    async with scratch(options.data) as place:
        circumstances = await _circumstances(place, effort)
        bench = Bench(place, effort, budget, _say)
        parts = sum(part for _, part in chosen.values())
        for names, (measurement, part) in chosen.items():
            _say(f"{names} ({budget.used() / 60:.1f} of {effort.minutes:g} minutes used)")
            found = await _one(names, measurement, bench, budget.part(part / parts))
            parts -= part
            results += found
            for result in found:
                _say(line(result))
            write(options.out, results, circumstances)
    _say("\n" + markdown(results, circumstances))
    _say(f"written to {options.out}")
    return results


def _chosen(only: str) -> dict[str, tuple[Measurement, float]]:
    """What is to be measured; everything if nothing is named. Raises CannotMeasureError."""
    wanted = {name.upper() for name in only.replace(",", " ").split()}
    known = {name for names in MEASUREMENTS for name in names.split()}
    if wanted - known:
        raise CannotMeasureError(
            f"--only knows {', '.join(sorted(known, key=lambda name: int(name[1:])))}; "
            f"not {', '.join(sorted(wanted - known))}"
        )
    return {
        names: parts
        for names, parts in MEASUREMENTS.items()
        if not wanted or wanted & set(names.split())
    }


async def _one(names: str, measurement: Measurement, bench: Bench, budget: Budget) -> list[Result]:
    """A measurement that fails is told and costs no other one its number.

    The bound of the whole run ends it, too; its own budget only keeps it from beginning rounds.
    """
    try:
        async with asyncio.timeout(max(0.0, bench.budget.left())):
            return await measurement(bench, budget)
    except Exception as error:  # noqa: BLE001 - the edge of the loop over ratios
        late = bench.budget.left() <= 0
        reason = f"no number: {'the time is used up' if late else repr(_first(error))}"
        _say(f"  {reason}")
        if not late:
            traceback.print_exception(error)
        numbers = [number for number in TARGETS if number.split()[0] in names.split()]
        return [Result(number, None, notes=[reason[:500]]) for number in numbers]


def _first(error: Exception) -> Exception:
    """What happened, from among what happened because of it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _circumstances(place: Scratch, effort: Effort) -> dict[str, str]:
    data = place.directory / "template"
    async with EmbeddedPostgres(data) as server:
        found = await read_durability(urls_of(server, "order").service, data)
    return {
        **found.settings,
        "PostgreSQL": found.postgres,
        "cores": f"{found.cores} ({found.processor})",
        "file system": f"{found.file_system}, a synced page in {found.sync_milliseconds:.2f} ms",
        "Python": found.python,
        "Waybill": version("waybill"),
        "DBOS": _locked("dbos"),
        "connections of the load": str(effort.connections),
        "seconds a side": f"{effort.seconds:g}",
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "at": time.strftime("%Y-%m-%d %H:%M %Z"),
    }


def _locked(package: str) -> str:
    """The version that the baselines' environment has."""
    pinned = (line.partition("==") for line in LOCK.read_text().splitlines())
    return next(rest.split()[0] for name, _, rest in pinned if name == package)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="ratios to measure, as in: --only R4,R7")
    parser.add_argument("--quick", action="store_true", help="small sizes: at most 12 minutes")
    parser.add_argument("--rounds", type=int, help="of each ratio (default 5; --quick: 2)")
    parser.add_argument("--seconds", type=float, help="of a side's window (default 10)")
    parser.add_argument("--snapshot-seconds", type=float, help="R13 (default 120)")
    parser.add_argument("--orders-many", type=int, help="R16 (default 1000000)")
    parser.add_argument("--minutes", type=float, help="bound of the whole run (default 60)")
    parser.add_argument("--data", type=Path, help="where scratch data go (default: TMPDIR)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    return parser


if __name__ == "__main__":
    sys.exit(main())

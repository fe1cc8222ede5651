"""`waybill bench`: measures a platform, audits it, and writes figures only if the books balance."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.audit.table import show_report
from waybill.operations.bench import plots
from waybill.operations.bench.rest import BenchFailedError
from waybill.operations.bench.results import Results, as_markdown, write_results
from waybill.platform.bench_bar import Bar
from waybill.platform.bench_runs import HISTORY_NAME, measured_outage, measured_platform
from waybill.platform.bench_scratch import DATA_NAME, OUTAGE_NAME, Scratch, sweep
from waybill.platform.event_loop import run

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from waybill.operations.audit import Report
    from waybill.operations.bench.away import Away
    from waybill.operations.bench.run import Outcome
    from waybill.platform.bench_runs import BenchOptions


@dataclass(frozen=True)
class _Both:
    """What was measured, the outage too if that was asked for."""

    outcome: Outcome
    away: Away | None

    @property
    def reports(self) -> tuple[Report, ...]:
        """Each audit; all are clean, or there are no figures."""
        return (self.outcome.report, *([self.away.report] if self.away else []))

    @property
    def unclean(self) -> Report | None:
        """The first audit that was not."""
        return next((report for report in self.reports if report.exit_status), None)


def run_bench(console: Console, options: BenchOptions) -> bool:
    """Measure, audit, write. Whether the audit was clean: else nothing is written or shown.

    Raises MessagingError if it could not be measured.
    """
    results = measured(console, options)
    if results is None:
        return False
    console.print(as_markdown(results), soft_wrap=True, markup=False)
    for path in write_results(results, options.out):
        console.print(str(path), soft_wrap=True, markup=False)
    return True


def measured(console: Console, options: BenchOptions) -> Results | None:
    """Measure and audit; None, and the audit is shown, if it was not clean. As `run_bench`."""
    made = _make(options.out)
    if not plots.available():
        console.print(plots.MISSING)
    began = datetime.now(UTC)  # noqa: TID251 - the report's own date
    sweep()
    place = Scratch()
    scratch = place.directory
    kept = False
    try:
        both = run(_measured(console, options, scratch))
        kept = both.unclean is not None
    except BenchFailedError:
        kept = True
        raise
    except asyncio.CancelledError:
        raise BenchFailedError("ended by SIGTERM: nothing was measured") from None
    finally:
        for directory in made:
            with suppress(OSError):
                directory.rmdir()
        if kept:
            place.keep()
            _show_kept(console, options, scratch)
        else:
            place.remove()
    if both.unclean is None:
        return _results(options, both, began)
    show_report(both.unclean, console)
    console.print(f"no clean audit, no figures: {both.unclean.told()}")
    return None


def _make(directory: Path) -> list[Path]:
    """Make it before the work, not after it; what was made, the deepest first."""
    place = directory.absolute()
    missing = [parent for parent in (place, *place.parents) if not parent.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be written ({error.strerror}): choose another with --out"
        ) from error
    return missing


def _show_kept(console: Console, options: BenchOptions, scratch: Path) -> None:
    data = options.data_directory or scratch / DATA_NAME
    console.print(f"kept: data in {data}, what the clients were told in {scratch / HISTORY_NAME}")
    if (scratch / OUTAGE_NAME).exists():
        console.print(f"kept: both of the outage in {scratch / OUTAGE_NAME}")


async def _measured(console: Console, options: BenchOptions, scratch: Path) -> _Both:
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - run made one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with Bar(console) as bar:
        outcome = await measured_platform(options, scratch, bar)
        if options.outage is None or not outcome.is_clean:
            return _Both(outcome, None)
        away = await measured_outage(options, options.outage, scratch / OUTAGE_NAME, bar)
        return _Both(outcome, away)


def _results(options: BenchOptions, both: _Both, began: datetime) -> Results:
    outcome = both.outcome
    topology = "a platform that was running"
    if not options.running:
        topology = "one process a service" if options.processes else "all services in one process"
        topology += ", on Kafka" if options.kafka else ""
        topology += f", {options.partitions} partitions" if options.partitions else ""
    return Results(
        waybill=version("waybill"),
        began=f"{began:%Y-%m-%d %H:%M:%S} UTC",
        command=options.command,
        topology=f"waybill bench: {outcome.blueprint}, {topology}",
        durability=outcome.durability,
        audit=outcome.report.told(),
        phases=outcome.phases,
        samples=outcome.samples,
        burst=outcome.burst,
        backlog=outcome.backlog,
        outage=both.away.outage if both.away else None,
    )

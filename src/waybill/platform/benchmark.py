"""`waybill bench`: measures a platform, audits it, and writes figures only if the books balance."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.audit.table import show_report
from waybill.operations.bench import plots
from waybill.operations.bench.phase import BenchFailedError
from waybill.operations.bench.results import Results, as_markdown, write_results
from waybill.operations.bench.run import measure
from waybill.platform.benched import own_platform, running_platform
from waybill.platform.demonstration import free_port_base
from waybill.platform.event_loop import run
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.progress import Task, TaskID
    from rich.progress_bar import ProgressBar

    from waybill.operations.bench.run import Outcome
    from waybill.operations.bench.target import PhasePlan

REFRESHES_PER_SECOND = 2
"""Drawing takes CPU from what is measured."""
HISTORY_NAME = "history.jsonl"


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What the command line asks for."""

    plans: Sequence[PhasePlan]
    out: Path
    data_directory: Path | None
    port_base: int | None
    processes: bool
    running: bool
    kafka: bool
    blueprint: str | None
    command: str
    is_compared: bool = False
    """Whether the ends of orders are seen in the same way whatever the blueprint."""


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
    scratch = Path(tempfile.mkdtemp(prefix="waybill-bench-"))
    scratch.chmod(0o711)  # PostgreSQL's own user must be able to pass
    kept = False
    try:
        outcome = run(_measured(console, options, scratch))
        kept = not outcome.is_clean
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
            _show_kept(console, options, scratch)
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    if outcome.is_clean:
        return _results(options, outcome, began)
    show_report(outcome.report, console)
    console.print(f"no clean audit, no figures: {outcome.report.told()}")
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
    data = options.data_directory or scratch / "data"
    console.print(f"kept: data in {data}, what the clients were told in {scratch / HISTORY_NAME}")


async def _measured(console: Console, options: BenchOptions, scratch: Path) -> Outcome:
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - run made one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    if options.running:
        settings = Settings.load(
            blueprint=options.blueprint,
            data_directory=options.data_directory,
            port_base=options.port_base,
        )
        platform = running_platform(settings)
    else:
        settings = Settings.load(
            blueprint=options.blueprint,
            data_directory=options.data_directory or scratch / "data",
            port_base=free_port_base() if options.port_base is None else options.port_base,
        )
        platform = own_platform(settings, processes=options.processes, kafka=options.kafka)
    with Bar(console) as bar:
        bar.step("starting the platform")
        async with platform as found:
            target = replace(found, is_compared=options.is_compared)
            return await measure(
                target, options.plans, history=scratch / HISTORY_NAME, progress=bar
            )


def _results(options: BenchOptions, outcome: Outcome, began: datetime) -> Results:
    topology = "a platform that was running"
    if not options.running:
        topology = "one process a service" if options.processes else "all services in one process"
        topology += ", on Kafka" if options.kafka else ""
    return Results(
        waybill=version("waybill"),
        began=f"{began:%Y-%m-%d %H:%M:%S} UTC",
        command=options.command,
        topology=f"waybill bench: {outcome.blueprint}, {topology}",
        durability=outcome.durability,
        audit=outcome.report.told(),
        phases=outcome.phases,
        samples=outcome.samples,
    )


class Bar:
    """A progress bar on a terminal, else a line a step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            _Elapsed(),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, text: str, seconds: float | None = None) -> None:
        """See operations.bench.phase.Progress."""
        if not self._console.is_terminal:
            self._console.print(text if seconds is None else f"{text} ({seconds:g} s)")
            return
        if self._task is not None:
            with suppress(KeyError):
                self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=seconds)


class _Elapsed(BarColumn):
    """How much of the step's time has passed."""

    def render(self, task: Task) -> ProgressBar:
        """As rich has it, by time."""
        if task.total is not None:
            task.completed = min(task.elapsed or 0.0, task.total)
        return super().render(task)

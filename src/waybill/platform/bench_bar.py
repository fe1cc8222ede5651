"""How far a bench is: a bar on a terminal, else a line a step."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task, TaskID
    from rich.progress_bar import ProgressBar

REFRESHES_PER_SECOND = 2
"""Drawing takes CPU from what is measured."""


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

"""An event loop whose clock stands still until a test moves it, and which knows when all is quiet.

Every time-out, poll and lease of the process follows this clock; only the sockets are real. While
a statement is on its way to a server no virtual time passes, so a slow machine times nothing out.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

from waybill.messaging.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

START = datetime(2037, 1, 1, tzinfo=UTC)
"""Behind the server's start: a lease from before it is void at once. MariaDB ends in 2038."""

QUIET_TURNS = 3
"""Turns of the loop in a row without anything to run, after which every task waits."""

Arguments = TypeVarTuple("Arguments")

RESOLUTION_SECONDS = time.get_clock_info("monotonic").resolution
"""Of asyncio's loops."""

OWNER: contextvars.ContextVar[set[asyncio.Task[Any]] | None] = contextvars.ContextVar(
    "owner", default=None
)
"""Where tasks that are made in this context are noted: a killed process loses all of them."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`elapsed` is its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 1_000.0
        self.on_the_way = 0
        """Statements that are on their way to a server."""
        self._arrived: asyncio.Event | None = None
        self.set_task_factory(_noted)  # type: ignore[arg-type]  # typeshed wants 3.13's signature

    def time(self) -> float:
        """Seconds, as every timer of this loop counts them."""
        return self.elapsed

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Let `when` come if the loop takes it for now: it runs what is due within a nanosecond.

        Else whoever waits for the rest of a pause would find it not over, again and again.
        """
        if self.elapsed < when < self.elapsed + RESOLUTION_SECONDS:
            self.elapsed = when
        return super().call_at(when, callback, *args, context=context)

    @contextmanager
    def statement(self) -> Iterator[None]:
        """Something is on its way while this block lasts."""
        self.on_the_way += 1
        try:
            yield
        finally:
            self.on_the_way -= 1
            if self._arrived is not None:
                self._arrived.set()

    async def quiet(self) -> None:
        """Wait until every task waits: for time, or for a test."""
        # Only the loop itself knows whether a task is ready; it has no public way to ask.
        ready = self._ready  # type: ignore[attr-defined]
        turns = 0
        while turns < QUIET_TURNS:
            await asyncio.sleep(0)
            if self.on_the_way:
                turns = 0
                await self._one_arrives()
            else:
                turns = 0 if ready else turns + 1

    async def advance(self, seconds: float) -> None:
        """Jump ahead, as a suspended machine does: what became due meanwhile is due once."""
        await self.quiet()
        self.elapsed += seconds
        await self.quiet()

    async def _one_arrives(self) -> None:
        self._arrived = asyncio.Event()
        try:
            await self._arrived.wait()
        finally:
            self._arrived = None


class VirtualClock(SystemClock):
    """The clock of the loops: SystemClock's waits follow the event loop already."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._began = loop.elapsed

    def now(self) -> datetime:
        """The start, and what was advanced since."""
        return START + timedelta(seconds=self._loop.elapsed - self._began)

    def monotonic(self) -> float:
        """The loop's seconds."""
        return self._loop.elapsed


def _noted(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any],
    **options: Any,  # noqa: ANN401 - passed on
) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **options)
    context = options.get("context") or contextvars.copy_context()
    tasks = context.get(OWNER)
    if tasks is not None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    return task

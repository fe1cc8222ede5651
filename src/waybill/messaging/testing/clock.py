"""A clock that stands still until a test moves it: no test of a loop waits for real time."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET_TURNS = 3
"""Turns of the event loop in a row without anything to run, after which all tasks wait."""

TURNS_MAX = 100_000
"""Turns after which tasks that are never quiet are left alone."""


class FakeClock:
    """Implements the runtime's `Clock`. Sleepers wake when `advance` or `until` reaches them."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> datetime:
        """The start plus all that was advanced."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds advanced since the start."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until a test moves the clock so far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._numbers), future))
        await future

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until `event` is set or the clock was moved by `seconds`."""
        if event.is_set():
            return True
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return event.is_set()

    async def settle(self) -> None:
        """Let every task run until all of them wait."""
        await self._settle(lambda: False)

    async def _settle(self, condition: Callable[[], bool]) -> bool:
        """Run all tasks until they wait or the condition holds; whether it does."""
        # Only the loop itself knows whether a task is ready; it has no public way to ask.
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # noqa: SLF001
        quiet = 0
        for _ in range(TURNS_MAX):
            if condition():
                return True
            await asyncio.sleep(0)
            quiet = 0 if ready else quiet + 1
            if quiet == QUIET_TURNS:
                break
        return condition()

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking each sleeper at its time, in order."""
        end = self._elapsed + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            await self._wake_next()
        self._elapsed = end
        await self.settle()

    async def until(self, condition: Callable[[], bool], *, within_seconds: float = 600.0) -> None:
        """Move on from sleeper to sleeper until `condition` holds; AssertionError if it never does.

        `within_seconds` is of this clock, not of the wall.
        """
        end = self._elapsed + within_seconds
        while not await self._settle(condition):
            self._drop_cancelled()
            if not self._sleepers or self._sleepers[0][0] > end:
                reason = f"not so within {within_seconds} s of the fake clock"
                raise AssertionError(reason)
            await self._wake_next()

    async def _wake_next(self) -> None:
        at, _, future = heapq.heappop(self._sleepers)
        if not future.done():
            self._elapsed = max(self._elapsed, at)
            future.set_result(None)
            await self.settle()

    def _drop_cancelled(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)

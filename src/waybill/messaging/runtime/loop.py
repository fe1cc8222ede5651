"""A loop that can be stopped at once while it waits, and never in the middle of a unit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from waybill.messaging.core.ports import Observer
    from waybill.messaging.runtime.clock import Clock

T = TypeVar("T")


class LoopStoppedError(Exception):
    """The loop was asked to stop while it waited. Never leaves `run`."""


class Loop:
    """What the supervisor runs. A subclass implements `work` and waits through `idle`."""

    def __init__(self, name: str, clock: Clock, observer: Observer) -> None:
        self.name = name
        self.stopping = False
        self._clock = clock
        self._observer = observer
        self._progressed_at = clock.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._idle = False
        self._interrupted = False

    async def run(self) -> None:
        """Work until `stop`. May be called again after it raised or ended."""
        self.stopping = False
        self._interrupted = False
        self._task = asyncio.current_task()
        self.progressed()
        try:
            await self.work()
        except LoopStoppedError:
            pass
        finally:
            self._task = None

    async def work(self) -> None:
        """One life of the loop."""
        raise NotImplementedError

    def stop(self) -> None:
        """End soon: at once while the loop waits, else after the unit in hand. May be repeated."""
        self.stopping = True
        if self._idle and self._task is not None and not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    async def idle(self, wait: Awaitable[T]) -> T:
        """Wait for something that may be given up without harm. Raises LoopStoppedError."""
        if self.stopping:
            if asyncio.iscoroutine(wait):
                wait.close()
            raise LoopStoppedError
        self._idle = True
        try:
            return await wait
        except asyncio.CancelledError:
            if self._interrupted and self._task is not None and not self._task.uncancel():
                raise LoopStoppedError from None
            raise
        finally:
            self._idle = False

    def progressed(self) -> None:
        """A turn was made."""
        self._progressed_at = self._clock.monotonic()
        self._observer.progressed(self.name)

    @property
    def waits_on_purpose(self) -> bool:
        """True while making no progress is right."""
        return False

    @property
    def progress_age_seconds(self) -> float:
        """Seconds since the last turn; 0 while the loop waits on purpose."""
        return 0.0 if self.waits_on_purpose else self._clock.monotonic() - self._progressed_at

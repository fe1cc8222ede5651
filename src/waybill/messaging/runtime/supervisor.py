"""The supervisor: starts loops, restarts the ones that crash, and drains them within a bound.

A loop that dies silently leaves a process that looks well (pitfall B22): each crash is logged,
counted and followed by a restart, and the age of each loop's last turn is there for readiness.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import (
    ConfigurationError,
    DeadLetterLimitExceededError,
    TransientError,
)
from waybill.messaging.core.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.messaging.runtime.clock import Clock
    from waybill.messaging.runtime.loop import Loop

HEALTHY_AFTER_SECONDS = 60.0
"""A loop that ran so long starts its backoff anew when it crashes."""

logger = logging.getLogger(__name__)


class Supervisor:
    """Runs the loops of one process.

    `halted` holds, by name, why a loop waits for an operator: too many dead letters, or a
    configuration that cannot work. It does not restart by itself; `resume` starts it again.
    """

    def __init__(
        self, clock: Clock, random: Callable[[], float], *, backoff: Backoff | None = None
    ) -> None:
        self.restarts: Counter[str] = Counter()
        self.halted: dict[str, str] = {}
        self._clock = clock
        self._random = random
        self._backoff = backoff or Backoff(base_seconds=0.5)
        self._loops: dict[str, Loop] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    def start(self, *loops: Loop) -> None:
        """Run these from now on. Their names must differ."""
        for loop in loops:
            if loop.name in self._loops:
                reason = f"two loops are called {loop.name}; give each its own name"
                raise ConfigurationError(reason)
            self._loops[loop.name] = loop
            self._tasks[loop.name] = asyncio.create_task(self._keep(loop), name=loop.name)

    def resume(self, name: str) -> bool:
        """Start a halted loop again; False if it is not halted."""
        if self.halted.pop(name, None) is None:
            return False
        self._tasks[name] = asyncio.create_task(self._keep(self._loops[name]), name=name)
        return True

    def ages_seconds(self) -> dict[str, float]:
        """Seconds since each loop's last turn; readiness wants them below ten."""
        return {name: loop.progress_age_seconds for name, loop in self._loops.items()}

    async def stop(self, *, within_seconds: float = 15.0) -> list[str]:
        """Drain every loop; the names of those that did not end in time and were cancelled.

        What a cancelled loop had begun rolls back, and is done after the next start.
        """
        self._stopping.set()
        for loop in self._loops.values():
            loop.stop()
        tasks = set(self._tasks.values())
        if tasks:
            bound = asyncio.create_task(self._clock.sleep(within_seconds))
            while (running := {task for task in tasks if not task.done()}) and not bound.done():
                await asyncio.wait([*running, bound], return_when=asyncio.FIRST_COMPLETED)
            bound.cancel()
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sorted(task.get_name() for task in late)

    async def _keep(self, loop: Loop) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            try:
                await loop.run()
            except (DeadLetterLimitExceededError, ConfigurationError) as error:
                self.halted[loop.name] = str(error)
                logger.critical("%s halted: %s", loop.name, error)
                return
            except TransientError as error:
                logger.warning("%s: %s; starting again", loop.name, error)
            except Exception:
                # A loop's edge: whatever broke it, the process goes on without a gap.
                logger.exception("%s crashed; starting again", loop.name)
            else:
                return
            self.restarts[loop.name] += 1
            if self._clock.monotonic() - began > HEALTHY_AFTER_SECONDS:
                failures = 0
            delay = self._backoff.delay_seconds(failures, self._random)
            failures += 1
            await self._clock.wait(self._stopping, delay)

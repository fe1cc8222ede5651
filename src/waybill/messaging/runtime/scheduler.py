"""The scheduler: periodic work, done by one process at a time, whichever is there (C14).

A job runs at least once an interval while any process lives; after a crash another one takes it
when the lease ends. It may run twice, so jobs must be safe to repeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import ConfigurationError, OutcomeUnknownError, TransientError
from waybill.messaging.core.retry import Backoff
from waybill.messaging.runtime.loop import Loop, LoopStoppedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Observer, Schedule
    from waybill.messaging.runtime.clock import Clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work to do every `every_seconds`, give or take `jitter_share` of it.

    It is cancelled after `run_seconds_max`, which is below `lease_seconds`, so that it never
    runs in two processes at a time.
    """

    name: str
    run: Callable[[], Awaitable[object]]
    every_seconds: float
    jitter_share: float = 0.1
    lease_seconds: float = 20.0
    run_seconds_max: float = 15.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.5))

    def __post_init__(self) -> None:
        if self.run_seconds_max >= self.lease_seconds or self.every_seconds <= 0:
            reason = f"job {self.name}: run_seconds_max < lease_seconds and every_seconds > 0"
            raise ConfigurationError(reason)
        if not 0 <= self.jitter_share < 1:
            reason = f"job {self.name}: jitter_share is in [0, 1)"
            raise ConfigurationError(reason)


class Scheduler(Loop):
    """Runs jobs when their rows are due, each in a task of its own."""

    def __init__(
        self,
        name: str,
        jobs: Sequence[Job],
        *,
        schedule: Schedule,
        clock: Clock,
        observer: Observer,
        random: Callable[[], float],
        new_id: Callable[[], UUID],
        poll_seconds: float = 1.0,
    ) -> None:
        super().__init__(name, clock, observer)
        self._jobs = {job.name: job for job in jobs}
        if len(self._jobs) != len(jobs):
            reason = "two jobs share one name; give each its own"
            raise ConfigurationError(reason)
        self._schedule = schedule
        self._random = random
        self._new_id = new_id
        self._poll_seconds = poll_seconds
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = defaultdict(int)
        self._done = asyncio.Event()
        self._next_at = 0.0

    async def work(self) -> None:
        """Claim and run what is due until `stop`; then wait for the jobs in hand."""
        try:
            await self._claim_for_ever()
        except LoopStoppedError:
            while self._running:
                await asyncio.wait(self._running.values())
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim_for_ever(self) -> None:
        registered = False
        while True:
            self._done.clear()
            self._next_at = self._clock.monotonic() + self._poll_seconds
            try:
                if not registered:
                    await self._schedule.register(list(self._jobs))
                    registered = True
                await self._claim()
            except TransientError as error:
                logger.warning("%s: %s", self.name, error)
                self._observer.retried(self.name, type(error).__name__)
            else:
                self.progressed()
            pause = max(0.0, self._next_at - self._clock.monotonic())
            await self.idle(self._clock.wait(self._done, pause))

    async def _claim(self) -> None:
        """Start what is due, job by job of one lease."""
        free: dict[float, list[str]] = defaultdict(list)
        for job in self._jobs.values():
            if job.name not in self._running:
                free[job.lease_seconds].append(job.name)
        for lease_seconds, names in free.items():
            token = self._new_id()
            due = await self._schedule.claim(names, lease_token=token, lease_seconds=lease_seconds)
            for name in due:
                self._running[name] = asyncio.create_task(
                    self._run(self._jobs[name], token), name=f"{self.name}: {name}"
                )

    async def _run(self, job: Job, token: UUID) -> None:
        try:
            next_seconds = await self._attempt(job)
            await self._finish(job, token, next_seconds)
            self._next_at = min(self._next_at, self._clock.monotonic() + next_seconds)
        except TransientError as error:
            # The lease ends by itself, and the job is due again then.
            logger.warning("%s: the end of %s was not stored: %s", self.name, job.name, error)
        finally:
            self._running.pop(job.name, None)
            self._done.set()

    async def _finish(self, job: Job, token: UUID, next_seconds: float) -> None:
        """Store its end; again while the lease lasts, or the next turn would wait for that."""
        until = self._clock.monotonic() + job.lease_seconds - job.run_seconds_max
        failures = 0
        while True:
            try:
                if crash_points.hook is not None:
                    await crash_points.hook("job.before_finish", job.name)
                await self._schedule.finish(job.name, lease_token=token, next_seconds=next_seconds)
                if crash_points.hook is not None:
                    await crash_points.hook("job.after_finish", job.name)
            except TransientError:
                if self.stopping or self._clock.monotonic() >= until:
                    raise
                await self._clock.sleep(job.backoff.delay_seconds(failures, self._random))
                failures += 1
            else:
                return

    async def _attempt(self, job: Job) -> float:
        """Run it; the seconds until it is due again: its interval, or a backoff after an error."""
        try:
            async with asyncio.timeout(job.run_seconds_max):
                if crash_points.hook is not None:
                    await crash_points.hook("job.before_run", job.name)
                await job.run()
                if crash_points.hook is not None:
                    await crash_points.hook("job.after_run", job.name)
        except Exception as error:
            # The user's job, at its loop's edge: it is tried again, and the others go on.
            expected = isinstance(error, TransientError | OutcomeUnknownError | TimeoutError)
            logger.log(
                logging.WARNING if expected else logging.ERROR,
                "job %s failed: %s: %s",
                *(job.name, type(error).__name__, error),
                exc_info=not expected,
            )
            self._observer.retried(job.name, type(error).__name__)
            delay = job.backoff.delay_seconds(self._failures[job.name], self._random)
            self._failures[job.name] += 1
            return min(delay, job.every_seconds)
        self._failures[job.name] = 0
        return job.every_seconds * (1 + job.jitter_share * (2 * self._random() - 1))


class LocalSchedule:
    """A `Schedule` of this process alone, for work that every process does for itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_at: dict[str, float] = {}
        self._leases: dict[str, tuple[UUID, float]] = {}

    async def register(self, names: Sequence[str]) -> None:
        """See Schedule."""
        for name in names:
            self._due_at.setdefault(name, self._clock.monotonic())

    async def claim(
        self, names: Sequence[str], *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[str]:
        """See Schedule."""
        now = self._clock.monotonic()
        due = [
            name
            for name in names
            if self._due_at[name] <= now
            and (name not in self._leases or self._leases[name][1] <= now)
        ]
        self._leases.update(dict.fromkeys(due, (lease_token, now + lease_seconds)))
        return due

    async def finish(self, name: str, *, lease_token: UUID, next_seconds: float) -> bool:
        """See Schedule."""
        if name not in self._leases or self._leases[name][0] != lease_token:
            return False
        del self._leases[name]
        self._due_at[name] = self._clock.monotonic() + next_seconds
        return True

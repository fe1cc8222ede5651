"""Group commit: requests that arrive while a flush is in flight are the next flush (I1 to I6).

No timer: an idle service flushes a single request at once, a busy one many together. One flush
at a time; a caller is answered after the commit of its own flush, or told that nothing was done.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from waybill.messaging.core.errors import (
    ConfigurationError,
    MessagingError,
    OutcomeUnknownError,
    OverloadedError,
    PermanentError,
)
from waybill.messaging.runtime.admission import WaitEstimate
from waybill.messaging.runtime.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.messaging.core.ports import Observer
    from waybill.messaging.runtime.clock import Clock

Request = TypeVar("Request")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GroupCommitPolicy:
    """Limits of the intake.

    `queue_max` requests may wait; one is admitted while the estimated wait is below
    `wait_seconds_max`; one that waited `entry_seconds_max` is refused before its flush.
    """

    queue_max: int = 2_000
    batch_max: int = 500
    wait_seconds_max: float = 0.2
    entry_seconds_max: float = 2.0
    retry_after_seconds_max: int = 3

    def __post_init__(self) -> None:
        values = (self.queue_max, self.batch_max, self.wait_seconds_max, self.entry_seconds_max)
        if min(values) <= 0 or self.retry_after_seconds_max < 1:
            reason = "every limit of a group commit is above 0"
            raise ConfigurationError(reason)


class _Entry(Generic[Request, Result]):
    """A request with the future that its caller waits for."""

    __slots__ = ("at", "future", "request")

    def __init__(self, request: Request, future: asyncio.Future[Result], at: float) -> None:
        self.request = request
        self.future = future
        self.at = at

    def fail(self, error: BaseException) -> None:
        """Raise `error` at the caller, unless that has gone (protocol I3)."""
        if not self.future.done():
            self.future.set_exception(error)


class GroupCommit(Loop, Generic[Request, Result]):
    """`flush` writes many requests in one transaction and returns a result or an error for each.

    What it raises: TransientError, OutcomeUnknownError and the like reach every caller of the
    batch; anything else is some request's fault, so the batch is halved until that one is alone.
    A request is handed to every re-run as it is, so ids that were fixed in it stay (protocol I2).
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
        *,
        clock: Clock,
        observer: Observer,
        random: Callable[[], float],
        policy: GroupCommitPolicy | None = None,
    ) -> None:
        super().__init__(name, clock, observer)
        self._flush = flush
        self._random = random
        self._policy = policy or GroupCommitPolicy()
        self._queue: deque[_Entry[Request, Result]] = deque()
        self._some = asyncio.Event()
        self._estimate = WaitEstimate()

    @property
    def waits_on_purpose(self) -> bool:
        """Without requests there is nothing to flush."""
        return not self._queue and self._idle

    @property
    def queued(self) -> int:
        """Requests that wait for their flush."""
        return len(self._queue)

    def admit(self) -> None:
        """Refuse by OverloadedError what would wait too long; cheap, so ask before parsing."""
        policy = self._policy
        if self.stopping:
            self._refuse("the service is stopping")
        if len(self._queue) >= policy.queue_max:
            self._refuse(f"{len(self._queue)} requests are waiting")
        if not self._queue and self._idle:
            return
        now = self._clock.monotonic()
        wait = self._estimate.seconds(now, queued=len(self._queue), batch_max=policy.batch_max)
        if wait >= policy.wait_seconds_max:
            self._refuse(f"a request would wait {wait:.1f} s")

    async def submit(self, request: Request) -> Result:
        """Answer after the commit.

        Raises OverloadedError (nothing was done), what `flush` raised for this request, or
        OutcomeUnknownError: repeat it with the same idempotency key. A caller that is cancelled
        leaves; its request is flushed if a flush had begun.
        """
        if self.stopping:
            self._refuse("the service is stopping")
        if len(self._queue) >= self._policy.queue_max:
            self._refuse(f"{len(self._queue)} requests are waiting")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append(_Entry(request, future, self._clock.monotonic()))
        self._some.set()
        return await future

    async def work(self) -> None:
        """Flush until `stop`, then what is left in the queue."""
        try:
            while True:
                if self._queue:
                    await self._flush_next()
                    self.progressed()
                elif self.stopping:
                    return
                else:
                    self._some.clear()
                    await self.idle(self._some.wait())
                    self.progressed()  # what it waited for came: its age counts from here
        finally:
            while self._queue:
                self._queue.popleft().fail(OverloadedError("the service is stopping"))

    def _refuse(self, reason: str) -> None:
        seconds = math.ceil(self._random() * self._policy.retry_after_seconds_max) or 1
        raise OverloadedError(reason, retry_after_seconds=seconds)

    async def _flush_next(self) -> None:
        batch: list[_Entry[Request, Result]] = []
        now = self._clock.monotonic()
        oldest = now - self._policy.entry_seconds_max
        while self._queue and len(batch) < self._policy.batch_max:
            entry = self._queue.popleft()
            if entry.future.done():
                continue
            if entry.at < oldest:
                entry.fail(OverloadedError("the request waited too long; nothing was done"))
            else:
                batch.append(entry)
        if not batch:
            return
        self._estimate.flush_began(now)
        try:
            await self._write(batch)
        finally:
            self._estimate.flush_ended(self._clock.monotonic())
            for entry in batch:
                entry.fail(OutcomeUnknownError("the flush was ended; ask with the same key"))

    async def _write(self, batch: Sequence[_Entry[Request, Result]]) -> None:
        """One flush of these; halves of them if one is to blame."""
        try:
            results = await self._flush([entry.request for entry in batch])
        except (PermanentError, ConfigurationError) as error:
            await self._blame(batch, error)
        except MessagingError as error:
            for entry in batch:
                entry.fail(_copy(error))
        except Exception as error:
            # The user's flush: an error of any other kind is some request's fault.
            logger.exception("%s: a flush of %d raised", self.name, len(batch))
            await self._blame(batch, error)
        else:
            for entry, result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    entry.fail(result)
                elif not entry.future.done():
                    entry.future.set_result(result)

    async def _blame(self, batch: Sequence[_Entry[Request, Result]], error: Exception) -> None:
        if len(batch) == 1:
            batch[0].fail(error)
            return
        middle = len(batch) // 2
        await self._write(batch[:middle])
        await self._write(batch[middle:])


def _copy(error: MessagingError) -> MessagingError:
    """An instance for each caller: a shared one would collect all their tracebacks."""
    if isinstance(error, OverloadedError):
        return OverloadedError(str(error), retry_after_seconds=error.retry_after_seconds)
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy

"""The consumer: reads its topics, decides each message once, and stops for nothing but poison.

Effects, inbox row and position of a message commit together, so a message that arrives again
(crash, rebalance, replay) changes nothing. An outage costs time, never a message or an attempt.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import (
    AssignmentLostError,
    DeadLetterLimitExceededError,
    LeaseLostError,
    OutcomeUnknownError,
    TransientError,
)
from waybill.messaging.core.message import Batch, Positions
from waybill.messaging.runtime.batch import Sorter
from waybill.messaging.runtime.batch_size import BatchSizer
from waybill.messaging.runtime.each import HandlerFailedError, PatientBatch
from waybill.messaging.runtime.isolation import Isolation, LetterGuard, SameErrorError
from waybill.messaging.runtime.loop import Loop, LoopStoppedError
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.runtime.redrive import Redrive
from waybill.messaging.runtime.tracing import ConsumerTracing
from waybill.messaging.runtime.unit import ConsumerUnit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Log, Subscription
    from waybill.messaging.runtime.batch import SortedBatch
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.messaging.runtime.unit import Handler

logger = logging.getLogger(__name__)

POSITIONS_AT_ONCE = 4
"""Batches that store their positions one after the other: the steps of one order do."""


class ConsumerState(Enum):
    """What a consumer is doing; shown by readiness."""

    STARTING = "starting"
    STANDBY = "standby"
    RUNNING = "running"
    RETRYING = "retrying"
    PAUSED = "paused"
    HALTED = "halted"
    STOPPED = "stopped"


class Consumer(Loop):
    """One consumer of one service. `consumer` is its stable id (protocol C11).

    Where a log shares its partitions among a group, several run side by side; `member` counts them.

    `types` are the event types that `handler` takes; all others on `topics` are skipped. Nobody
    waits for the `patient` ones of them: they stay up to `policy.linger_seconds` for others. The
    handler is set-wise (see `unit.Handler`); `each.each` makes one of per-message handlers.
    """

    def __init__(
        self,
        consumer: str,
        *,
        log: Log,
        topics: Sequence[str],
        types: Iterable[type],
        handler: Handler,
        ports: ServicePorts,
        policy: ConsumerPolicy | None = None,
        patient: Iterable[type] = (),
        system: str = "waybill",
        member: int = 1,
    ) -> None:
        name = consumer if member == 1 else f"{consumer} {member}"
        super().__init__(name, ports.clock, ports.observer)
        policy = policy or ConsumerPolicy()
        tracing = ConsumerTracing(consumer, system=system)
        self.state = ConsumerState.STARTING
        self._consumer = consumer
        self._log = log
        self._topics = tuple(topics)
        self._ports = ports
        self._policy = policy
        self._sorter = Sorter(consumer, ports.codec, types, policy, patient=patient)
        self._unit = ConsumerUnit(consumer, ports, handler, policy, tracing)
        self._guard = LetterGuard(consumer, ports.dead_letters, policy)
        self._redrive = Redrive(consumer, ports.dead_letters, self._unit, self._sorter, policy)
        self._sizer = BatchSizer(policy.batch_size_max, policy.batch_work_seconds_max)
        self._scanned: dict[tuple[str, int], tuple[int, UUID | None]] = {}
        """Positions behind what was decided or skipped; they go with a later unit (D2)."""
        self._owes = False
        """Whether some of that was decided: its positions do not wait for another batch."""
        self._recorded_at = self._redriven_at = self._clock.monotonic()
        self._writes_until = 0.0
        """When the positions stored so far would have been stored at the set rate."""
        self._failures = 0

    @property
    def waits_on_purpose(self) -> bool:
        """A stand-by makes no turns and is well."""
        return self.state is ConsumerState.STANDBY

    async def work(self) -> None:
        """Consume until `stop`. Raises DeadLetterLimitExceededError; restart it by hand then."""
        try:
            while not self.stopping:
                await self._membership()
        except DeadLetterLimitExceededError as error:
            self.state = ConsumerState.HALTED
            logger.critical("%s", error)
            raise
        finally:
            if self.state is not ConsumerState.HALTED:
                self.state = ConsumerState.STOPPED

    async def _membership(self) -> None:
        """From joining to losing the lease, an outage of the log, or `stop`."""
        self.state = ConsumerState.STANDBY
        try:
            subscription = await self.idle(self._log.subscribe(self._consumer, self._topics))
        except (TransientError, OutcomeUnknownError) as error:
            await self._back_off(error)
            return
        self._forget()
        try:
            with suppress(LoopStoppedError):
                while not self.stopping:
                    self.state = ConsumerState.RUNNING
                    await self._turn_or_rewind(subscription)
            await self._settle(subscription)
        except LeaseLostError as error:
            logger.warning("%s: %s; standing by", self.name, error)
            self._ports.observer.retried(self._consumer, type(error).__name__)
        finally:
            await self._close(subscription)

    async def _close(self, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(self._policy.close_seconds_max):
                await subscription.close()
        except (TransientError, OutcomeUnknownError, TimeoutError) as error:
            logger.warning("%s: lease not handed back, it will expire: %s", self.name, error)

    async def _turn_or_rewind(self, subscription: Subscription) -> None:
        """One turn. Whatever is no message's fault rolls back all of it and is tried again (C6)."""
        try:
            await self._turn(subscription)
        except AssignmentLostError as error:
            self._forget()
            logger.info("%s: %s", self.name, error)
            await self._rewind(subscription)
        except (TransientError, OutcomeUnknownError) as error:
            self._forget()
            await self._back_off(error)
            await self._rewind(subscription)
        else:
            self._failures = 0
            self.progressed()

    async def _rewind(self, subscription: Subscription) -> None:
        """Start again at the stored positions, for as long as it takes to learn them."""
        while not self.stopping:
            try:
                await self.idle(subscription.rewind())
            except (TransientError, OutcomeUnknownError) as error:
                await self._back_off(error)
            else:
                return

    async def _back_off(self, error: Exception) -> None:
        bad_deployment = isinstance(error, SameErrorError)
        self.state = ConsumerState.PAUSED if bad_deployment else ConsumerState.RETRYING
        level = logging.CRITICAL if bad_deployment else logging.WARNING
        logger.log(level, "%s: %s: %s", self.name, type(error).__name__, error)
        self._ports.observer.retried(self._consumer, type(error).__name__)
        delay = self._policy.backoff.delay_seconds(self._failures, self._ports.random)
        self._failures += 1
        await self.idle(self._clock.sleep(delay))

    async def _turn(self, subscription: Subscription) -> None:
        now = self._clock.monotonic()
        if now - self._redriven_at >= self._policy.redrive_poll_seconds:
            self._redriven_at = now
            await self._redrive.run(subscription)
        batch = await self._fetch(subscription)
        self._scanned.update(batch.scanned.lanes)
        ordered = self._sorter.sort(batch)
        if ordered.skipped:
            self._ports.observer.processed(self._consumer, "skipped", ordered.skipped, 0.0)
        if ordered.candidates:
            await self._finish(subscription, ordered)
        elif self._clock.monotonic() >= self._record_at:
            await self._record_scanned(subscription)

    @property
    def _record_at(self) -> float:
        if self._owes:
            return self._move_at
        return self._recorded_at + self._policy.idle_record_seconds

    @property
    def _move_at(self) -> float:
        """When a batch may store its positions: some at once, then one each so many seconds."""
        few = POSITIONS_AT_ONCE - 0.5  # between two counts, so that no rounding matters
        return self._writes_until - few * self._policy.positions_seconds

    async def _fetch(self, subscription: Subscription) -> Batch:
        """The next records; those that nobody waits for once others came, or their time is over.

        Until then they are as good as not fetched: nothing of them is stored.
        """
        size = self._sizer.size
        within = max(0.0, self._record_at - self._clock.monotonic()) if self._owes else None
        batch = more = await self.idle(subscription.fetch(size, within))
        if not self._policy.linger_seconds or not self._sorter.has_patient(batch):
            return batch
        until = self._clock.monotonic() + self._policy.linger_seconds
        while more.records and self._sorter.may_wait(more) and len(batch.records) < size:
            left = max(0.0, until - self._clock.monotonic())
            more = await self.idle(subscription.fetch(size - len(batch.records), left))
            batch = batch.followed_by(more)
        return batch

    async def _finish(self, subscription: Subscription, ordered: SortedBatch) -> None:
        ordered.batch = Batch(ordered.batch.records, Positions(dict(self._scanned)))
        start = self._clock.monotonic()
        isolation = Isolation(
            self._unit,
            subscription,
            ordered,
            self._sorter,
            self._guard,
            move=subscription.shares or start >= self._move_at,
        )
        try:
            await isolation.finish()
        except HandlerFailedError as error:
            patient = PatientBatch(
                self._unit,
                subscription,
                ordered,
                self._sorter,
                guard=self._guard,
                clock=self._clock,
            )
            await patient.finish(error)
            isolation.move = True
        else:
            if isolation.searched:
                self._sizer.failed(ordered.candidates)
            elif not ordered.letters:
                self._sizer.observe(ordered.candidates, self._clock.monotonic() - start)
        if isolation.move:
            self._recorded(start)
        else:
            self._owes = True

    def _recorded(self, at: float) -> None:
        self._forget()
        self._recorded_at = at
        self._writes_until = max(self._writes_until, at) + self._policy.positions_seconds

    def _forget(self) -> None:
        self._scanned.clear()
        self._owes = False

    async def _record_scanned(self, subscription: Subscription) -> None:
        """Nothing to decide: the positions of a quiet topic move at most once a second (D2)."""
        self._recorded_at = at = self._clock.monotonic()
        if self._scanned:
            await self._unit.commit(subscription, (), (), Positions(dict(self._scanned)))
            self._recorded(at)

    async def _settle(self, subscription: Subscription) -> None:
        """Store, before it closes, the positions of what was decided; else it is read again."""
        if self._owes:
            try:
                await self._record_scanned(subscription)
            except (TransientError, OutcomeUnknownError) as error:
                logger.warning("%s: positions not stored at the end: %s", self.name, error)

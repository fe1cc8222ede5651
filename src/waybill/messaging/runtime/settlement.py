"""Settlement of outside calls: what ended while the last settlement was written is the next one.

An outcome is kept in memory until it is stored: a database that is down delays it and loses
nothing, unless the process dies; then the lease runs out and the call is asked about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import (
    ConcurrencyConflictError,
    DomainConstraintError,
    MessagingError,
    OutcomeUnknownError,
    PermanentError,
    TransientError,
)
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.core.ports import Delivery, Park, Retry, Settlement
from waybill.messaging.core.unit import UnitOfWork

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.ports import Deliveries
    from waybill.messaging.runtime.delivery import DeliveryPolicy, Verdict
    from waybill.messaging.runtime.ports import ServicePorts

Settled = Callable[[UnitOfWork, Sequence[tuple[Delivery, Settlement]]], Awaitable[None]]
"""Applies outcomes that this transaction settles, set-wise, like a handler."""

Lock = Callable[[UnitOfWork, Sequence[Delivery]], Awaitable[None]]
"""Locks the rows of the user's tables that come before deliveries in the order of locks (C3)."""

logger = logging.getLogger(__name__)


class Settler:
    """Writes the verdicts of one kind, one transaction at a time."""

    def __init__(
        self,
        kind: str,
        *,
        ports: ServicePorts,
        deliveries: Deliveries,
        settled: Settled,
        lock: Lock | None,
        policy: DeliveryPolicy,
        lease_token: UUID,
        stored: Callable[[Sequence[tuple[Delivery, Verdict]]], None],
    ) -> None:
        self._kind = kind
        self._ports = ports
        self._deliveries = deliveries
        self._settled = settled
        self._lock = lock
        self._policy = policy
        self._lease_token = lease_token
        self._stored = stored
        self._verdicts: list[tuple[Delivery, Verdict]] = []
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, delivery: Delivery, verdict: Verdict) -> None:
        """Store this verdict soon."""
        self._verdicts.append((delivery, verdict))
        self._some.set()
        self._none.clear()

    async def drained(self) -> None:
        """Wait until every verdict is stored."""
        await self._none.wait()

    async def run(self) -> None:
        """Store verdicts until cancelled."""
        while True:
            await self._some.wait()
            batch = self._verdicts[: self._policy.settle_size_max]
            await self._store(batch)
            del self._verdicts[: len(batch)]
            self._stored(batch)
            if not self._verdicts:
                self._some.clear()
                self._none.set()

    async def _store(
        self, batch: Sequence[tuple[Delivery, Verdict]], *, failed_alone: bool = False
    ) -> None:
        """Store all of it, for as long as it takes; halves, if an outcome cannot be applied."""
        failures = 0
        while True:
            try:
                await self._write(batch)
            except (TransientError, OutcomeUnknownError, ConcurrencyConflictError) as error:
                logger.warning("%s: outcomes wait for the database: %s", self._kind, error)
                self._ports.observer.retried(self._kind, type(error).__name__)
                backoff = self._policy.settle_backoff
                await self._ports.clock.sleep(backoff.delay_seconds(failures, self._ports.random))
                failures += 1
            except PermanentError as error:
                await self._isolate(batch, error, failed_alone=failed_alone)
                return
            else:
                return

    async def _isolate(
        self,
        batch: Sequence[tuple[Delivery, Verdict]],
        error: PermanentError,
        *,
        failed_alone: bool,
    ) -> None:
        """One outcome that cannot be applied is parked for an operator, the others are stored.

        A constraint must refuse it alone twice, as it must a message (protocol C6).
        """
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
            return
        if isinstance(error, DomainConstraintError) and not failed_alone:
            await self._store(batch, failed_alone=True)
            return
        ((delivery, verdict),) = batch
        logger.critical(
            "%s %s: the outcome %s cannot be applied and is parked: %s",
            *(self._kind, delivery.key, type(verdict).__name__, error),
        )
        if isinstance(verdict, Park):
            reason = f"{self._kind} {delivery.key} cannot even be parked: {error}"
            raise TransientError(reason) from error
        await self._store([(delivery, Park(f"{type(verdict).__name__}, not applied: {error}"))])

    async def _write(self, batch: Sequence[tuple[Delivery, Verdict]]) -> None:
        settled: list[tuple[Delivery, Settlement]] = []
        postponed: list[tuple[Delivery, Retry | Park]] = []
        for delivery, verdict in batch:
            if isinstance(verdict, Delivered | Refused):
                settled.append((delivery, verdict))
            else:
                postponed.append((delivery, verdict))
        async with self._ports.database.transaction() as transaction:
            if settled:
                await self._settle(self._ports.unit(transaction), settled)
            if postponed:
                await self._deliveries.postpone(
                    transaction, postponed, lease_token=self._lease_token
                )
            if crash_points.hook is not None:
                await crash_points.hook("settle.before_commit", self._kind)
        if crash_points.hook is not None:
            await crash_points.hook("settle.after_commit", self._kind)

    async def _settle(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Lock, record, and apply those that nobody applied before."""
        try:
            if self._lock is not None:
                await self._lock(unit, [delivery for delivery, _ in settled])
            new = await self._deliveries.settle(unit.transaction, settled)
            fresh = [each for each in settled if each[0].id in new]
            if fresh:
                await self._settled(unit, fresh)
        except MessagingError:
            raise
        except Exception as error:
            # The user's code decides here: whatever it raises is a verdict on these outcomes.
            reason = f"{type(error).__name__}: {error}"
            raise PermanentError(reason) from error

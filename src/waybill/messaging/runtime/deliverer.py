"""The deliverer: makes the outside calls that are owed, each with its own key, and never guesses.

A call is made only under a lease of this process, before its deadline, without a cancel mark
(protocol M2), and not before it is known what became of the call before it (protocol M6).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points
from waybill.messaging.core.breaker import Breaker, BreakerPolicy
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.outcome import Refused, Unknown
from waybill.messaging.core.ports import Delivery, Park, Retry
from waybill.messaging.core.retry_budget import RetryBudget
from waybill.messaging.runtime.delivery import (
    CANCELLED,
    DEADLINE,
    DeliveryPolicy,
    after_call,
    after_query,
)
from waybill.messaging.runtime.loop import Loop, LoopStoppedError
from waybill.messaging.runtime.outside import Outside
from waybill.messaging.runtime.settlement import Settler
from waybill.messaging.runtime.tracing import call_span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Deliveries
    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.delivery import Verdict
    from waybill.messaging.runtime.outside import Call, Query, Rejected
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.messaging.runtime.settlement import Lock, Settled

CLAIM_GAP_SECONDS = 0.05
"""Retries that are due within so long of each other are claimed together."""

BEGUN_MAX = 10_000
"""How many unknown calls' beginnings are remembered; a forgotten one is only asked once more."""

logger = logging.getLogger(__name__)


class Deliverer(Loop):
    """Calls the outside for one kind of delivery.

    `call` makes one attempt with `delivery.key` as its idempotency key and returns its Outcome;
    an exception or a timeout means Unknown, TransientError means Failed. `query` asks what became
    of a key; without one, a call of unknown outcome is repeated, so the other side must honour
    the key. `settled` applies final outcomes in the transaction that records them, each once;
    `lock` runs before it, for rows that come first in the order of locks. `rejected` is told of
    each turn in which the breaker let no call through; it must not raise.
    """

    def __init__(
        self,
        kind: str,
        *,
        ports: ServicePorts,
        deliveries: Deliveries,
        call: Call,
        settled: Settled,
        query: Query | None = None,
        lock: Lock | None = None,
        policy: DeliveryPolicy | None = None,
        breaker: Breaker | None = None,
        rejected: Rejected | None = None,
    ) -> None:
        super().__init__(f"deliver {kind}", ports.clock, ports.observer)
        policy = policy or DeliveryPolicy()
        self.kind = kind
        self.breaker = breaker or Breaker(BreakerPolicy(), ports.random)
        self._ports = ports
        self._deliveries = deliveries
        self.budget = RetryBudget(policy.retry_budget)
        self._outside = Outside(
            kind,
            ports=ports,
            breaker=self.breaker,
            budget=self.budget,
            timeout_seconds=policy.timeout_seconds,
            rejected=rejected,
        )
        self._call = call
        self._query = query
        self._policy = policy
        self._lease_token = ports.new_id()
        self._settler = Settler(
            kind,
            ports=ports,
            deliveries=deliveries,
            settled=settled,
            lock=lock,
            policy=policy,
            lease_token=self._lease_token,
            stored=self._stored,
        )
        self._queue: deque[Delivery] = deque()
        self._leased_until: dict[UUID, float] = {}
        """By id, everything that this process holds: queued, called, or waiting to be stored."""
        self._claimed_again: dict[UUID, Delivery] = {}
        """Newer readings of rows that were claimed while this process held them already."""
        self._begun: dict[UUID, tuple[int, float]] = {}
        """When the last call of unknown outcome began, and the attempts that counted it."""
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._claim_at = 0.0
        self._due: list[float] = []
        """A heap of when this process's retries are due; they need not wait for the poll."""
        self._failures = 0

    async def owe(self, unit: UnitOfWork, deliveries: Sequence[Delivery]) -> None:
        """Store calls in this unit, leased to this process, which makes them after the commit.

        A (kind, key) that exists is left as it is. When the queue is full they are stored without
        a lease, and claimed by whoever has room.
        """
        room = not self.stopping and len(self._leased_until) + len(deliveries) <= (
            self._policy.queue_max
        )
        # Taken before the insert: the lease in the table never ends sooner than we think.
        leased_until = self._clock.monotonic() + self._policy.lease_seconds
        if crash_points.hook is not None:
            await crash_points.hook("owe.before_insert", self.kind)
        new = await self._deliveries.add(
            unit.transaction,
            deliveries,
            lease_token=self._lease_token if room else None,
            lease_seconds=self._policy.lease_seconds,
        )
        if crash_points.hook is not None:
            await crash_points.hook("owe.after_insert", self.kind)

        def take() -> None:
            self._take([each for each in deliveries if each.id in new], leased_until)

        unit.on_commit(take if room else self.wake)
        if room:
            unit.transaction.on_unknown(lambda: self._doubt(deliveries))

    def _doubt(self, deliveries: Sequence[Delivery]) -> None:
        """Free the rows if they are there: nobody was to call them before their lease ran out."""
        for delivery in deliveries:
            self._hand_back(delivery, "the answer to the commit that owed it was lost")

    def wake(self) -> None:
        """Claim soon: something may be due. A hint; the poll stays on behind it."""
        self._claim_at = 0.0
        self._wake.set()

    def _take(self, deliveries: Sequence[Delivery], leased_until: float) -> None:
        for delivery in deliveries:
            if delivery.id in self._leased_until:
                self._claimed_again[delivery.id] = delivery
            else:
                self._queue.append(delivery)
            self._leased_until[delivery.id] = leased_until
        self._wake.set()

    async def work(self) -> None:
        """Claim, call and settle until `stop`; then finish what was begun, hand back the rest."""
        settling = asyncio.create_task(self._settler.run(), name=f"{self.name}: settle")
        try:
            await self._dispatch(settling)
        except LoopStoppedError:
            await self._drain(settling)
        finally:
            tasks = [settling, *self._calls]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _dispatch(self, settling: asyncio.Task[None]) -> None:
        while True:
            if settling.done():
                settling.result()
            self._wake.clear()
            try:
                await self._claim()
                await self._start()
            except TransientError as error:
                logger.warning("%s: %s", self.name, error)
                self._observer.retried(self.kind, type(error).__name__)
                backoff = self._policy.settle_backoff
                delay = backoff.delay_seconds(self._failures, self._ports.random)
                self._failures += 1
                self._claim_at = 0.0
                await self.idle(self._clock.sleep(delay))
                continue
            self._failures = 0
            self.progressed()
            await self.idle(self._clock.wait(self._wake, self._pause_seconds()))

    async def _drain(self, settling: asyncio.Task[None]) -> None:
        while self._queue or self._calls:
            while self._queue:
                self._hand_back(self._queue.popleft(), "stopped before the call")
            if self._calls:
                await asyncio.wait(self._calls)
        stored = asyncio.create_task(self._settler.drained())
        await asyncio.wait([stored, settling], return_when=asyncio.FIRST_COMPLETED)
        stored.cancel()

    @property
    def _room(self) -> int:
        policy = self._policy
        return min(policy.queue_max - len(self._leased_until), policy.claim_size_max)

    def _pause_seconds(self) -> float:
        """Until the next claim; without room only the end of a call makes one useful."""
        if self._room <= 0:
            return self._policy.poll_seconds
        pause = self._claim_at - self._clock.monotonic()
        return min(max(0.0, pause), self._policy.poll_seconds)

    async def _claim(self) -> None:
        """Lease what is due, as far as there is room."""
        now = self._clock.monotonic()
        policy, room = self._policy, self._room
        if now < self._claim_at or room <= 0:
            return
        while self._due and self._due[0] <= now:
            heappop(self._due)
        next_due = max(self._due[0], now + CLAIM_GAP_SECONDS) if self._due else math.inf
        self._claim_at = min(now + policy.poll_seconds, next_due)
        if crash_points.hook is not None:
            await crash_points.hook("delivery.before_claim", self.kind)
        claimed = await self._deliveries.claim(
            self.kind, room, lease_token=self._lease_token, lease_seconds=policy.lease_seconds
        )
        if claimed and crash_points.hook is not None:
            await crash_points.hook("delivery.after_claim", self.kind)
        if len(claimed) == room:
            self._claim_at = now
        self._take(claimed, now + policy.lease_seconds)

    async def _start(self) -> None:
        """Begin as many queued calls as may run at once; their marks are read together (M2)."""
        while self._queue and (free := self._policy.concurrency_max - len(self._calls)) > 0:
            group = [self._queue.popleft() for _ in range(min(free, len(self._queue)))]
            try:
                marked = await self._deliveries.marks([each.id for each in group])
            except BaseException:
                self._queue.extendleft(reversed(group))
                raise
            now = self._ports.clock.now()
            for delivery in group:
                refusal = None
                if delivery.cancelled or delivery.id in marked:
                    refusal = CANCELLED
                elif delivery.not_after is not None and delivery.not_after <= now:
                    refusal = DEADLINE
                self._begin(delivery, refusal)

    def _begin(self, delivery: Delivery, refusal: str | None) -> None:
        """One turn of a delivery: an operator's word, a refusal, a query, or a call."""
        # While it waited, its lease may have run out and another process may have called.
        delivery = self._claimed_again.pop(delivery.id, delivery)
        left = self._leased_until[delivery.id] - self._clock.monotonic()
        if delivery.verdict is not None:
            self._settler.add(delivery, delivery.verdict)
        elif left < self._policy.surely_over_seconds:
            self._hand_back(delivery, "the lease ends too soon for a call")
        elif refusal and not delivery.ask_first:
            self._settler.add(delivery, Refused(refusal))
        elif refusal and self._query is None:
            reason = f"{refusal}, but an earlier call's outcome is unknown and cannot be asked"
            self._settler.add(delivery, Park(reason))
        else:
            task = asyncio.create_task(self._turn(delivery))
            self._calls.add(task)
            task.add_done_callback(self._ended)

    def _hand_back(self, delivery: Delivery, reason: str) -> None:
        verdict = Retry(0.0, reason, counts=False, ask_first=delivery.ask_first)
        self._settler.add(delivery, verdict)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: a turn ended by a bug of ours", self.name, exc_info=error)
        self._wake.set()

    async def _turn(self, delivery: Delivery) -> None:
        try:
            with call_span(self.kind, delivery.traceparent, delivery.correlation_id):
                if delivery.ask_first and self._query is not None:
                    verdict = await self._ask(delivery, self._query)
                else:
                    verdict = await self._make(delivery)
        except BaseException:
            # Ended in mid-air: its lease runs out, and whoever claims it then asks first.
            self._leased_until.pop(delivery.id, None)
            self._claimed_again.pop(delivery.id, None)
            raise
        self._settler.add(delivery, verdict)

    async def _make(self, delivery: Delivery) -> Verdict:
        begun = self._clock.monotonic()
        lost = delivery.ask_first or delivery.id in self._begun
        outcome = await self._outside.call(delivery, self._call, after_timeout=lost)
        verdict = after_call(outcome, delivery, self._policy, self._ports.random)
        if isinstance(outcome, Unknown):
            self._remember(delivery, verdict, begun)
        return verdict

    async def _ask(self, delivery: Delivery, query: Query) -> Verdict:
        """What became of it? A query that did not get through counts as no attempt.

        Only of a call that this process made is it known how long ago that began; attempts that
        were counted since are another's.
        """
        now = self._clock.monotonic()
        counted, begun = self._begun.get(delivery.id, (delivery.attempts, now))
        if counted != delivery.attempts:
            begun = now
        outcome = await self._outside.query(delivery, query)
        verdict = after_query(
            outcome,
            delivery,
            self._policy,
            self._ports.random,
            begun_seconds_ago=now - begun,
        )
        self._remember(delivery, verdict, begun)
        return verdict

    def _remember(self, delivery: Delivery, verdict: Verdict, begun: float) -> None:
        counts = isinstance(verdict, Retry) and verdict.counts
        self._begun[delivery.id] = (delivery.attempts + counts, begun)
        if len(self._begun) > BEGUN_MAX:
            del self._begun[next(iter(self._begun))]

    def _stored(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> None:
        """Their rows say it all now: forget them, and claim again when the first one is due."""
        now = self._clock.monotonic()
        for delivery, verdict in verdicts:
            again = self._claimed_again.pop(delivery.id, None)
            if again is None:
                self._leased_until.pop(delivery.id, None)
            else:
                # Claimed while its verdict was written: if that freed the row before the claim,
                # it is leased to us and nobody has it. If not, this changes nothing.
                self._hand_back(again, "claimed while its outcome was stored")
            if isinstance(verdict, Retry):
                heappush(self._due, now + verdict.delay_seconds)
                self._claim_at = min(self._claim_at, now + verdict.delay_seconds)
            if not isinstance(verdict, Retry):
                self._begun.pop(delivery.id, None)
        self._wake.set()

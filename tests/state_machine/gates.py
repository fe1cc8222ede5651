"""Where a test decides what happens next: which records a consumer gets, how an outside call ends.

Everything behind a gate is the product's own; a gate only keeps it waiting, and reorders what the
protocol lets come in any order (lanes and topics, never the records of one lane).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Any

from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.message import Batch, Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.outcome import Outcome, QueryOutcome
    from waybill.messaging.core.ports import Delivery, Log, Subscription, Transaction
    from waybill.messaging.runtime.outside import Call, Query

    Lane = tuple[str, int]
    Place = tuple[int, UUID | None]

READ_MAX = 500

ACT: ContextVar[str] = ContextVar("act", default="")
"""Whose act this task is doing, so that what it passes can be told from everybody else's."""


@dataclass(frozen=True)
class Grant:
    """One batch: at most `records` new ones in an order chosen by `order`, and `repeats` old."""

    records: int = READ_MAX
    order: int = 0
    repeats: int = 0
    source: str = ""
    """Only records of this source, if any is named: others of the batch come later."""
    again: tuple[Record, ...] = ()
    """Old ones that are chosen, not drawn."""
    act: str = ""
    """What the turns until the next grant are called, in `ACT`."""


class ConsumerGate:
    """One consumer's life: it asks for a batch, and waits here until it is granted one."""

    def __init__(self) -> None:
        self._granted: asyncio.Future[Grant] | None = None
        self.handed_out: list[Record] = []
        """Everything that this member got, for repeats."""
        self.last: tuple[Record, ...] = ()
        self.subscription: Subscription | None = None
        self.reading = False
        """Whether it looks for records; it does so for a millisecond of virtual time."""

    @property
    def waits(self) -> bool:
        """Whether the consumer asks for a batch now."""
        return self._granted is not None and not self._granted.done()

    def grant(self, grant: Grant) -> None:
        """Let it have one batch."""
        if self._granted is None:
            raise AssertionError("the consumer asks for nothing")
        self.last = ()
        self._granted.set_result(grant)

    async def passed(self) -> Grant:
        """Wait for a grant."""
        self._granted = asyncio.get_running_loop().create_future()
        return await self._granted


class GatedLog:
    """See Log."""

    def __init__(self, inner: Log, gate: ConsumerGate) -> None:
        self._inner = inner
        self._gate = gate

    async def subscribe(self, consumer: str, topics: Sequence[str]) -> GatedSubscription:
        """See Log.subscribe."""
        return GatedSubscription(await self._inner.subscribe(consumer, topics), self._gate)


class GatedSubscription:
    """See Subscription: reads all there is, and hands out what it is told to."""

    shares = False

    def __init__(self, inner: Subscription, gate: ConsumerGate) -> None:
        self._inner = inner
        self._gate = gate
        gate.subscription = inner
        self._records: dict[Lane, deque[Record]] = {}
        self._ends: dict[Lane, Place] = {}
        """Behind the last row read of each lane, of any topic."""

    async def fetch(self, limit: int, within_seconds: float | None = None) -> Batch:
        """See Subscription.fetch."""
        del within_seconds  # the machine says when
        grant = await self._gate.passed()
        ACT.set(grant.act)
        self._gate.reading = True
        try:
            batch = await self._inner.fetch(READ_MAX)
        finally:
            self._gate.reading = False
        for record in batch.records:
            self._records.setdefault((record.source, record.lane), deque()).append(record)
        self._ends.update(batch.scanned.lanes)
        return self._hand_out(grant, limit)

    def _hand_out(self, grant: Grant, limit: int) -> Batch:
        random = Random(grant.order)  # noqa: S311 - an order of records, drawn by the test
        known = self._gate.handed_out
        repeats = [*grant.again, *random.sample(known, min(grant.repeats, len(known)))]
        repeats.sort(key=lambda record: (record.source, record.lane, record.seq))
        fresh: list[Record] = []
        scanned: dict[Lane, Place] = {}
        while len(fresh) < min(grant.records, limit):
            lanes = [lane for lane in self._records if grant.source in {"", lane[0]}]
            if not lanes:
                break
            lane = random.choice(sorted(lanes))
            record = self._records[lane].popleft()
            fresh.append(record)
            scanned[lane] = (record.seq, record.message.id)
            if not self._records[lane]:
                del self._records[lane]
        for lane in [lane for lane in self._ends if lane not in self._records]:
            scanned[lane] = self._ends.pop(lane)
        known.extend(fresh)
        self._gate.last = (*repeats, *fresh)
        return Batch((*repeats, *fresh), Positions(scanned))

    async def lock(self, transaction: Transaction) -> None:
        """See Subscription.lock."""
        await self._inner.lock(transaction)

    async def record(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        """See Subscription.record."""
        return await self._inner.record(*arguments, **options)

    async def record_ahead(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        """See Subscription.record_ahead."""
        await self._inner.record_ahead(*arguments, **options)

    async def acknowledge(self, positions: Positions) -> None:
        """See Subscription.acknowledge."""
        await self._inner.acknowledge(positions)

    async def rewind(self) -> None:
        """See Subscription.rewind."""
        self._records.clear()
        self._ends.clear()
        await self._inner.rewind()

    async def close(self) -> None:
        """See Subscription.close."""
        await self._inner.close()


class Fate(Enum):
    """How an outside call ends."""

    ANSWERED = "answered"
    ANSWER_LOST = "done, but its answer is lost"
    NEVER_ARRIVED = "lost on its way, and nobody knows"
    REFUSED_CONNECTION = "nobody listens there"


class Doubts:
    """Calls whose outcome nobody knows: such a one is asked about before it is repeated (M6)."""

    def __init__(self) -> None:
        self.repeated: list[str] = []
        """Keys of those that were repeated blindly."""
        self._open: set[UUID] = set()

    @contextmanager
    def calling(self, delivery: Delivery) -> Iterator[None]:
        """A call, whose outcome may be lost with its answer, or with its process."""
        if delivery.id in self._open:
            self.repeated.append(delivery.key)
        try:
            yield
        except TransientError:
            raise
        except BaseException:
            self._open.add(delivery.id)
            raise

    def asked(self, delivery: Delivery) -> None:
        """The other side told what became of it."""
        self._open.discard(delivery.id)


@dataclass(frozen=True)
class Waiting:
    """An outside call, or the question what became of one, that has not ended yet."""

    delivery: Delivery
    is_query: bool
    decided: asyncio.Future[Fate]


class CallGate:
    """Outside calls of one life of a process, in the order in which they were begun."""

    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts
        self.waiting: list[Waiting] = []

    def answer(self, index: int, fate: Fate) -> None:
        """Let one of the waiting calls end so."""
        self.waiting.pop(index % len(self.waiting)).decided.set_result(fate)

    def call(
        self, inner: Call, noted: Callable[[Delivery], None], *, can_be_asked_about: bool
    ) -> Call:
        """The call behind this gate; `noted` hears of each one that is really made."""

        async def gated(delivery: Delivery) -> Outcome:
            with self._doubts.calling(delivery) if can_be_asked_about else nullcontext():
                return await made(delivery)

        async def made(delivery: Delivery) -> Outcome:
            fate = await self._decided(delivery, is_query=False)
            if fate is Fate.REFUSED_CONNECTION:
                raise TransientError(fate.value)
            if fate is Fate.NEVER_ARRIVED:
                raise ConnectionResetError(fate.value)
            noted(delivery)
            outcome = await inner(delivery)
            if fate is Fate.ANSWER_LOST:
                raise ConnectionResetError(fate.value)
            return outcome

        return gated

    def query(self, inner: Query | None) -> Query | None:
        """The query behind this gate: it is answered, or it does not get through."""
        if inner is None:
            return None

        async def gated(delivery: Delivery) -> QueryOutcome:
            if await self._decided(delivery, is_query=True) is not Fate.ANSWERED:
                raise TransientError("the query does not get through")
            outcome = await inner(delivery)
            self._doubts.asked(delivery)
            return outcome

        return gated

    async def _decided(self, delivery: Delivery, *, is_query: bool) -> Fate:
        entry = Waiting(delivery, is_query, asyncio.get_running_loop().create_future())
        self.waiting.append(entry)
        try:
            return await entry.decided
        finally:
            if entry in self.waiting:
                self.waiting.remove(entry)

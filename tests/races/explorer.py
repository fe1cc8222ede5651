"""Runs one act while another stands at a chosen point, over two processes of the order service.

Acts run on the product's own handlers, loops and databases, with their real locks. A point is any
crash point that the first act passes, and the moment before each of its statements.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.state_machine.gates import ACT, ConsumerGate, Fate, Grant
from tests.state_machine.virtual_time import QUIET_TURNS

from waybill.commerce.orders.intake import OrderFlush
from waybill.messaging.core import crash_points
from waybill.messaging.runtime.consumer import ConsumerState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from uuid import UUID

    import pytest
    from tests.state_machine.life import Life
    from tests.state_machine.simulation import Simulation

    from waybill.commerce.orders.intake import Entry
    from waybill.messaging.runtime.consumer import Consumer

FIRST, SECOND = "first", "second"
INSIDE_A_STATEMENT = ("outbox.", "transaction.after_")
"""Passed while the adapter flushes and commits, which the loop counts as on its way."""
LOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"
EXPIRE = """
UPDATE messaging.consumer_source SET lease_until = '-infinity'
WHERE (consumer, source) IN (SELECT consumer, source FROM messaging.consumer_source
                             WHERE consumer = 'order-service' FOR UPDATE SKIP LOCKED)
"""
AT_REST = """
SELECT settled_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM messaging.dead_letters WHERE verdict = 'REDRIVE')
FROM app.orders WHERE id = $1::uuid
"""
STAND_BY_SECONDS = 0.6
REDRIVE_SECONDS = 1.1
LOOK_SECONDS = 0.002


@dataclass
class Points:
    """Counts the points that the first act passes, and lets it stand at one of them."""

    loop: Any
    stand_at: int
    passed: list[str] = field(default_factory=list)
    stands: bool = False
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def reach(self, point: str, _name: str) -> None:
        """See core.crash_points.Hook."""
        if ACT.get() != FIRST:
            return
        self.passed.append(point)
        if self.stand_at != len(self.passed) - 1:
            return
        inside = point.startswith(INSIDE_A_STATEMENT)
        self.loop.on_the_way -= inside
        self.stands = True
        try:
            await self.release.wait()
        finally:
            self.stands = False
            self.loop.on_the_way += inside


class Racer(Protocol):
    """An act under way."""

    async def start(self, race: Race, act: str, life: Life) -> None:
        """Begin it in this process; return when it is over or waits."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is still to be done: it ended, or it found that it must not act."""


class Race:
    """One order, two acts, two processes."""

    def __init__(self, world: Simulation, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.points = Points(world.loop, 0)
        self.waited = 0
        """How often the second act was seen waiting for a lock of the first one."""
        self._patch = patch
        self._watches_locks = False

    async def run(
        self, first: Racer, second: Racer, stand_at: int, lives: tuple[Life, Life]
    ) -> bool:
        """`second` runs while `first` stands there. False if `first` passes fewer points."""
        points = self.points = Points(self.world.loop, stand_at)
        self._patch.setattr(crash_points, "hook", points.reach)
        for life in lives:
            life.process.watch = points.reach
        await first.start(self, FIRST, lives[0])
        stood = points.stands
        if stood:
            self._watches_locks = True
            await second.start(self, SECOND, lives[1])
            waits = await self.calm()
            assert points.stands, "the first act went on by itself"
            assert waits or second.is_over, f"{second} neither ends nor waits for a lock"
            self.waited += waits
        self._watches_locks = False
        points.release.set()
        await self.calm()
        for life in lives:
            life.process.watch = None
        self._patch.setattr(crash_points, "hook", None)
        return stood

    async def calm(self) -> bool:
        """Wait until every task waits; True as soon as one of them waits for a lock of the first.

        Once the first act goes on, no lock is waited for for ever.
        """
        loop = self.world.loop
        ready = loop._ready  # type: ignore[attr-defined]
        turns = 0
        while turns < QUIET_TURNS:
            await asyncio.sleep(0)
            if loop.on_the_way:
                turns = 0
                if not self._watches_locks:
                    await loop.quiet()
                elif (await self.world.databases.fetch("order", LOCKED))[0][0]:
                    return True
            else:
                turns = 0 if ready else turns + 1
        return False

    async def tick(self, seconds: float) -> None:
        """Virtual time passes, also while somebody stands or waits for a lock."""
        self.world.loop.elapsed += seconds
        await self.calm()


class Post:
    """The customer sends something over HTTP."""

    def __init__(self, path: str, **options: Any) -> None:  # noqa: ANN401 - httpx2's
        self._path = path
        self._options = options
        self.request: asyncio.Task[Any] | None = None

    async def start(self, race: Race, act: str, life: Life) -> None:
        """See Racer."""
        assert life.client is not None
        self.request = _spawn(life, act, life.client.post(self._path, **self._options))
        await race.calm()

    @property
    def is_over(self) -> bool:
        """The customer was answered."""
        return self.request is not None and self.request.done()


class Deadline:
    """The deadline's job asks."""

    def __init__(self, ask: Callable[[Life], Coroutine[Any, Any, int]]) -> None:
        self._ask = ask
        self._asked: asyncio.Task[int] | None = None

    async def start(self, race: Race, act: str, life: Life) -> None:
        """See Racer."""
        self._asked = _spawn(life, act, self._ask(life))
        await race.calm()

    @property
    def is_over(self) -> bool:
        """What was due was asked about, or passed over because somebody else has it."""
        return self._asked is not None and self._asked.done()


@dataclass
class Consume:
    """The consumer takes a batch, once this process holds its lease: a takeover, if need be."""

    grant: Grant
    redrives: bool = False
    """Dead letters are looked for before the batch behind the one that is granted."""
    consumer: Consumer | None = None
    _gate: ConsumerGate = field(default_factory=ConsumerGate)

    async def start(self, race: Race, act: str, life: Life) -> None:
        """See Racer. While the first one's transaction holds the lease's row, it stands by."""
        self.consumer = life.consumer
        self._gate = life.gate
        if not life.gate.waits:
            await race.world.databases.fetch("order", EXPIRE)
            await race.tick(STAND_BY_SECONDS)
        if self.redrives:
            await race.tick(REDRIVE_SECONDS)
        if not life.gate.waits:
            return
        life.gate.grant(Grant(self.grant.records, again=self.grant.again, act=act))
        await race.calm()
        while life.gate.reading:
            await race.tick(LOOK_SECONDS)

    @property
    def is_over(self) -> bool:
        """It asks for the next batch, or stands by: another process reads."""
        standing_by = self.consumer is not None and self.consumer.state is ConsumerState.STANDBY
        return self._gate.waits or standing_by


def _spawn(life: Life, act: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    token = ACT.set(act)
    try:
        return life.process.spawn(work)
    finally:
        ACT.reset(token)


def follow_flushes(patch: pytest.MonkeyPatch) -> None:
    """The intake's flush is the act of whoever sent its request, though another task does it."""
    acts: dict[UUID, str] = {}
    entry, flush = OrderFlush.entry, OrderFlush.flush

    def noted(self: OrderFlush, request: Any) -> Entry:  # noqa: ANN401 - passed on
        made = entry(self, request)
        acts[made.order_id] = ACT.get()
        return made

    async def followed(self: OrderFlush, entries: Sequence[Entry]) -> list[Any]:
        ACT.set(acts[entries[0].order_id])
        return await flush(self, entries)

    patch.setattr(OrderFlush, "entry", noted)
    patch.setattr(OrderFlush, "flush", followed)


async def come_to_rest(world: Simulation, order_id: str, rounds_max: int = 60) -> None:
    """Deliver and answer everything until the order is settled and nothing is under way.

    A consumer that is in a backoff takes nothing now, though it has something to read.
    """
    for _ in range(rounds_max):
        moved = 0
        for name, life in list(world.lives.items()):
            if life.gate.waits:
                moved += await world.deliver(name, Grant())
            while life.calls.waiting:
                await world.answer(name, 0, Fate.ANSWERED)
                moved += 1
        if moved:
            continue
        ((settled,),) = await world.databases.fetch("order", AT_REST, order_id)
        if settled and await world.auditor.is_quiet():
            return
        await world.advance(1.0)
    raise AssertionError(f"order {order_id} does not come to rest")

"""Messages that nobody waits for stay a moment for company, and lose nothing by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import CODEC, CONSUMER, TOPIC, Added, Closed

from waybill.messaging.adapters.memory.log import MemorySubscription
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.core.message import Batch, Positions, Record
from waybill.messaging.runtime.consumer import Consumer
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.unit import Received, UnitOfWork

LINGER = 0.05
LONG_BEFORE, BEFORE, AFTER = LINGER / 5, LINGER * 0.9, LINGER * 1.1


class World(MemoryService):
    """A consumer of `Added`, for which nobody waits, and of `Closed`."""

    def __init__(
        self, policy: ConsumerPolicy | None = None, types: tuple[type, ...] = (Added, Closed)
    ) -> None:
        super().__init__(CODEC)
        self.policy = policy or ConsumerPolicy(linger_seconds=LINGER)
        self.types = types
        self.batches: list[list[str]] = []
        self.consumer = self.member()

    def member(self) -> Consumer:
        """One, as a restart would make it."""
        return Consumer(
            CONSUMER,
            log=self.log,
            topics=[TOPIC],
            types=self.types,
            patient=[Added],
            handler=self._handle,
            ports=self.ports,
            policy=self.policy,
        )

    async def _handle(self, _unit: UnitOfWork, received: Sequence[Received]) -> None:
        self.batches.append([each.message.key for each in received])

    async def add(self, key: str) -> None:
        """One that may wait."""
        await self.feed([self.message(Added(key, 1), key=key)])

    async def close(self, key: str) -> None:
        """One that is waited for."""
        await self.feed([self.message(Closed(key), key=key)])


async def test_one_that_nobody_waits_for_is_decided_with_those_that_came_soon() -> None:
    """Two within the time to linger are one unit, at its end; the next one begins another."""
    world = World()
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.add("a")
        await world.clock.advance(BEFORE)
        await world.add("a")
        await world.clock.settle()
        assert world.batches == []
        await world.clock.advance(AFTER - BEFORE)
        assert world.batches == [["a", "a"]]
        await world.add("b")
        await world.clock.advance(AFTER)
    assert world.batches == [["a", "a"], ["b"]]


async def test_one_that_is_waited_for_takes_the_others_with_it_at_once() -> None:
    """Whoever is waited for waits for nobody, however it finds the others."""
    world = World()
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.close("a")
        await world.clock.settle()
        assert world.batches == [["a"]]
        await world.add("b")
        await world.clock.advance(LONG_BEFORE)
        await world.close("b")
        await world.clock.settle()
        assert world.batches == [["a"], ["b", "b"]]


async def test_a_full_batch_does_not_wait() -> None:
    """`batch_size_max` bounds what lingers, too."""
    world = World(ConsumerPolicy(linger_seconds=LINGER, batch_size_max=2))
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.add("a")
        await world.clock.advance(LONG_BEFORE)
        await world.add("a")
        await world.clock.settle()
        assert world.batches == [["a", "a"]]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long each fetch may wait; None: as long as one does that lets nobody wait."""
    made: list[float | None] = []
    fetch = MemorySubscription.fetch

    async def seen(
        member: MemorySubscription, limit: int, within_seconds: float | None = None
    ) -> Batch:
        made.append(within_seconds)
        return await fetch(member, limit, within_seconds)

    monkeypatch.setattr(MemorySubscription, "fetch", seen)
    return made


async def test_behind_what_is_skipped_nobody_stays(waits: list[float | None]) -> None:
    """A type that the consumer does not take is no reason to fetch once more."""
    world = World(types=(Added,))
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.close("a")
        await world.clock.settle()
        assert {*waits} == {None}
        await world.add("a")
        await world.clock.advance(AFTER)
    assert world.batches == [["a"]]
    assert {*waits} > {None}


async def test_without_a_time_to_linger_nothing_stays(waits: list[float | None]) -> None:
    """`linger_seconds=0` decides what one fetch gave, at once; below 0 is refused."""
    world = World(ConsumerPolicy(linger_seconds=0, positions_seconds=0))
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.add("a")
        await world.clock.settle()
        assert world.batches == [["a"]]
    assert {*waits} == {None}
    with pytest.raises(ConfigurationError, match="linger_seconds"):
        ConsumerPolicy(linger_seconds=-1)


async def test_p3_what_stayed_when_its_process_ended_is_decided_by_the_next() -> None:
    """P3: nothing of it was stored, so nothing of it is lost or decided twice."""
    world = World()
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.add("a")
        await world.clock.advance(LONG_BEFORE)
    assert world.batches == []
    async with world.running(world.member()):
        await world.clock.until(lambda: bool(world.batches))
        await world.clock.advance(AFTER)
    assert world.batches == [["a"]]


async def test_p3_what_stayed_over_an_outage_is_decided_once() -> None:
    """C6: an error while some linger makes the consumer read them again."""
    world = World()
    fails = False

    def fault(point: str) -> None:
        nonlocal fails
        if fails and point == "begin":
            fails = False
            raise TransientError("gone for a moment")

    world.fault = fault
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.add("a")
        await world.clock.advance(LONG_BEFORE)
        fails = True
        await world.add("b")
        await world.clock.until(lambda: bool(world.batches))
        await world.clock.advance(AFTER)
    assert not fails
    assert sorted(key for batch in world.batches for key in batch) == ["a", "b"]


def test_batches_that_follow_each_other_are_one_in_partition_order() -> None:
    """A partition's records keep their order, and its position is the later one."""
    message = MemoryService(CODEC).message(Added("k", 1), key="k")
    first = Batch(
        (Record("s", 1, 4, message), Record("s", 2, 5, message)),
        Positions({("s", 1): (4, None), ("s", 2): (5, None)}),
    )
    later = Batch((Record("s", 1, 7, message),), Positions({("s", 1): (8, None)}))
    both = first.followed_by(later)
    assert [(record.lane, record.seq) for record in both.records] == [(1, 4), (1, 7), (2, 5)]
    assert both.scanned.lanes == {("s", 1): (8, None), ("s", 2): (5, None)}

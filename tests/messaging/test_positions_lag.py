"""Stored positions may lag behind batches that follow one another, and nothing is done twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import CONSUMER, World, keys_of_one_lane

from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.core.lanes import lane_of
from waybill.messaging.runtime.consumer import POSITIONS_AT_ONCE
from waybill.messaging.runtime.policy import ConsumerPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.unit import Received

LAG = ConsumerPolicy().positions_seconds
LANE = lane_of(keys_of_one_lane(1)[0])
LONG_AGO = 10 * LAG
FEW = POSITIONS_AT_ONCE


def stored(world: World) -> int:
    """The position of the lane that all messages are in."""
    return world.stored_position(CONSUMER, LANE)


async def begin(world: World) -> None:
    """A few batches after a quiet time: each stores its own positions, the next one would not."""
    await world.clock.settle()
    await world.clock.advance(LONG_AGO)
    for count in range(1, FEW + 1):
        await world.feed(world.amounts(count=1))
        await world.clock.settle()
        assert stored(world) == count


async def test_batches_that_follow_one_another_share_a_write_of_their_positions() -> None:
    """A row that each batch changes is slow to find while anybody holds a snapshot open."""
    world = World()
    async with world.running(world.consumer):
        await begin(world)
        for count in range(1, 4):
            await world.clock.advance(LAG / 10)
            await world.feed(world.amounts(count=1))
            await world.clock.settle()
            assert len(world.effects) == FEW + count
            assert stored(world) == FEW
        await world.clock.advance(LAG)
        assert stored(world) == FEW + 3
        assert world.source.reported[CONSUMER][LANE][0] == FEW + 3


async def test_a_source_is_never_told_of_more_than_is_stored() -> None:
    """D3, D5: else retention takes what a restart wants to read."""
    world = World()
    async with world.running(world.consumer):
        await begin(world)
        await world.feed(world.amounts(count=3))
        await world.clock.settle()
        assert len(world.effects) == FEW + 3
        assert world.source.reported[CONSUMER][LANE][0] == stored(world) == FEW


async def test_what_a_crash_left_unstored_is_read_again_and_changes_nothing() -> None:
    """C1: the inbox has what was applied, however old the position is."""
    world = World()
    messages = world.amounts(count=3)
    async with world.running(world.consumer):
        await begin(world)
        await world.feed(messages)
        await world.clock.settle()
        assert stored(world) == FEW
        killed = asyncio.current_task()
        assert killed is not None
        for task in asyncio.all_tasks() - {killed}:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    await world.clock.advance(LONG_AGO * 10)
    world.consumer = world.new_consumer()
    await world.consume(world.amounts(count=1))
    assert set(world.effects.values()) == {1}
    assert len(world.effects) == FEW + 4
    assert world.observer.counts[CONSUMER, "duplicate"] == len(messages)
    assert stored(world) == FEW + 4


async def test_a_member_that_stops_stores_what_it_did() -> None:
    """The next member, a drain and the audit find the position behind the last message."""
    world = World()
    async with world.running(world.consumer):
        await begin(world)
        await world.feed(world.amounts(count=2))
        await world.clock.settle()
        assert stored(world) == FEW
    assert stored(world) == FEW + 2


async def test_a_dead_letter_and_its_position_are_stored_together() -> None:
    """C4: what was refused is not met again, and never before its neighbours are done."""
    world = World()
    async with world.running(world.consumer):
        await begin(world)
        await world.feed(world.amounts(["", "raises", ""]))
        await world.clock.settle()
        assert len(world.letters) == 1
        assert stored(world) == FEW + 3


async def test_an_outage_forgets_what_was_not_stored() -> None:
    """C6: a database that came back may be an older one: only what it has counts."""
    world = World()
    moods = iter([False, True, False])

    def away(_received: Sequence[Received]) -> None:
        if next(moods, False):
            raise TransientError("the database went away")

    async with world.running(world.consumer):
        await begin(world)
        world.ledger.mood = away
        await world.feed(world.amounts(count=2))
        await world.clock.settle()
        await world.feed(world.amounts(count=1))
        await world.clock.settle()
        assert stored(world) == FEW
        await world.clock.advance(LONG_AGO)
        assert stored(world) == FEW + 3
        assert world.observer.counts[CONSUMER, "duplicate"] == 2
        assert set(world.effects.values()) == {1}


def test_the_lag_is_no_less_than_nothing() -> None:
    """A setting that means nothing is refused, by name."""
    with pytest.raises(ConfigurationError, match="positions_seconds must not be below 0: -1"):
        ConsumerPolicy(positions_seconds=-1)

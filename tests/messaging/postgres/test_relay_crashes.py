"""What goes wrong at any point of the relay costs nothing but duplicates."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.postgres.relay_held import judge_held
from waybill.messaging.core.crash_points import registered
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.lanes import lane_of
from waybill.messaging.core.relay import Verdict
from waybill.messaging.testing.crash_points import CrashPlan

if TYPE_CHECKING:
    from tests.messaging.postgres.relay_world import RelayWorld

POINTS = [point for point in registered() if point.startswith("relay.")]
FAULTS = [(point, "fail") for point in POINTS] + [
    (point, "do_then_fail") for point in POINTS if ".before_" in point
]


@pytest.fixture
def world(world: RelayWorld) -> RelayWorld:
    """Its log takes values of 100 bytes."""
    world.log.value_bytes_max = 100
    return world


@pytest.mark.parametrize(("point", "act"), FAULTS)
async def test_an_error_at_any_point_loses_nothing(world: RelayWorld, point: str, act: str) -> None:
    """P2, L3: at each point of a relay an error costs duplicates, never a message or its order."""
    with CrashPlan() as plan:
        armed = getattr(plan, act)(point)
        await world.start()
        await world.publish(*(f"k{n % 7}" for n in range(50)))
        (large,) = await world.publish("k1", value=b"x" * 101)
        await world.publish("k1", "k2")
        await world.drained()
        world.log.value_bytes_max = 1_000
        await judge_held(world.database, [large.id], Verdict.RESUME, who="me", why="")

        await world.released()
        assert armed.is_reached
    await world.publish("k1")
    await world.drained()
    world.assert_complete()


async def test_two_relays_whose_log_fails_at_random_lose_nothing(world: RelayWorld) -> None:
    """P2, L2, L3: a storm of failing writes, purges and instances that come and go."""
    left = 300

    def fault(_record: object) -> None:
        nonlocal left
        left -= 1
        if left > 0 and left % 13 == 0:
            raise TransientError("the broker says no")

    world.log.fault = fault
    relays = [await world.start(), await world.start()]
    for turn in range(12):
        await world.publish(*(f"k{n}" for n in range(30)))
        if turn % 4 == 3:
            await world.stop(relays.pop(0))
            relays.append(await world.start(hears=turn % 8 == 3))
        if turn % 5 == 2:
            await world.log.purge()
        await asyncio.sleep(0.05)
    await world.drained()
    world.assert_complete()
    assert left < 0


async def test_a_position_that_the_server_has_lost_is_stored_again(world: RelayWorld) -> None:
    """Protocol L3: its commit waits for no disk; of an idle lane the lag would stay for ever."""
    relay = await world.start()
    await world.publish("k", "k", "other")
    await world.drained()
    before = await world.positions()
    await world.run("UPDATE messaging.outbox_lane SET position = 1 WHERE lane = $1", lane_of("k"))
    await world.drained()
    assert await world.positions() == before
    world.assert_complete()
    assert relay.figures.leases_lost == 1, "the lane began anew, and no other"


async def test_a_held_record_survives_the_server(world: RelayWorld) -> None:
    """Protocol L4: only a position alone may be lost; what it passes is on the disk by then."""
    await world.run("CREATE TABLE written (what text, synchronous_commit text)")
    await world.run("""
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO written VALUES (tg_table_name, current_setting('synchronous_commit'));
            RETURN NULL;
        END $$
    """)
    for table, when in ("outbox_held", "INSERT"), ("outbox_lane", "UPDATE OF position"):
        await world.run(
            f"CREATE TRIGGER note AFTER {when} ON messaging.{table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION note()"
        )
    await world.start()
    await world.publish("k1", value=b"x" * 101)
    await world.drained()
    assert await written(world) == {("outbox_held", "on"), ("outbox_lane", "on")}
    await world.publish("k2")
    await world.drained()
    assert ("outbox_lane", "off") in await written(world)


async def written(world: RelayWorld) -> set[tuple[str, str]]:
    """Which tables were written, and whether the commit waited for the disk."""
    return {(row[0], row[1]) for row in await world.run("SELECT * FROM written")}

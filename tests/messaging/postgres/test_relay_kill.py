"""Owners of lanes are killed with SIGKILL, or stand still past their lease: protocol L3."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.messaging.postgres.relay_world import FAST, FEW_SECONDS, RelayWorld, by_key, until

from waybill.messaging.adapters.postgres.relay_held import judge_held
from waybill.messaging.core.crash_points import registered
from waybill.messaging.core.relay import Verdict

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from waybill.messaging.core.message import Message


RUNNER = "waybill.messaging.testing.crash_runner"
RELAY = "tests.messaging.postgres.relay_process"
SHORT = ("relay.after_write", "relay.before_release")
POINTS = [
    pytest.param(point, marks=() if point in SHORT else pytest.mark.long)
    for point in registered()
    if point.startswith("relay.")
]


@asynccontextmanager
async def process(world: RelayWorld, log: Path, *, point: str = "") -> AsyncIterator[Process]:
    """A relay in a process of its own; killed at the end, or when it comes to the point."""
    runner = ["-m", RUNNER, "--point", point, "--"] if point else ["-m"]
    command = [sys.executable, *runner, RELAY, world.url, str(log)]
    started = await asyncio.create_subprocess_exec(*command)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


def arrived(log: Path) -> dict[str, list[str]]:
    """Ids by key, first arrivals in their order."""
    found: dict[str, dict[str, None]] = {}
    for line in log.read_text().splitlines():
        key, message_id = line.split()
        found.setdefault(key, {}).setdefault(message_id)
    return {key: list(ids) for key, ids in found.items()}


def published(world: RelayWorld, *, but_for: Sequence[Message] = ()) -> dict[str, list[str]]:
    """What must have arrived."""
    return {key: [str(each) for each in ids] for key, ids in by_key(world.sent, but_for).items()}


async def test_l3_a_killed_owners_lanes_move_and_nothing_is_lost(
    world: RelayWorld, tmp_path: Path
) -> None:
    """Protocol L3, R130: SIGKILL under load, again and again; the other one takes over in time."""
    log = tmp_path / "log"
    async with process(world, log):
        await until(lambda: owns(world, 1))
        for _ in range(3):
            async with process(world, log) as second:
                await until(lambda: owns(world, 2))
                for _ in range(10):
                    await world.publish(*(f"k{n}" for n in range(30)))
                second.send_signal(signal.SIGKILL)
                async with asyncio.timeout(4 * FAST.lease_seconds):
                    await until(lambda: owns(world, 1))
        await world.drained()
    assert arrived(log) == published(world)


@pytest.mark.long
async def test_l3_an_owner_that_stood_still_changes_nothing_when_it_wakes(
    world: RelayWorld, tmp_path: Path
) -> None:
    """Protocol L3: SIGSTOP past the lease; awake, it finds its token gone and takes part again."""
    log = tmp_path / "log"
    async with process(world, log) as first, process(world, log):
        await until(lambda: owns(world, 2))
        for _ in range(2):
            for _ in range(10):
                await world.publish(*(f"k{n}" for n in range(30)))
            first.send_signal(signal.SIGSTOP)
            await until(lambda: owns(world, 1))
            await world.publish(*(f"k{n}" for n in range(30)))
            await world.drained()
            positions = await world.positions()
            first.send_signal(signal.SIGCONT)
            await until(lambda: owns(world, 2))
            assert all(a <= b for a, b in zip(positions, await world.positions(), strict=True))
        await world.publish(*(f"k{n}" for n in range(30)))
        await world.drained()
    assert arrived(log) == published(world)


@pytest.mark.parametrize("point", POINTS)
async def test_l3_a_kill_at_any_point_loses_nothing(
    world: RelayWorld, tmp_path: Path, point: str
) -> None:
    """P2, L3, L4: SIGKILL at each point of a relay; the next one sends the rest, in order."""
    log = tmp_path / "log"
    async with process(world, log, point=point) as first:
        await world.publish(*(f"k{n % 7}" for n in range(30)))
        (large,) = await world.publish("k1", value=b"x" * 101)
        await world.publish("k1", "k2")
        if point.endswith("_release"):
            await world.drained()
            await judge_held(world.database, [large.id], Verdict.SKIP, who="me", why="")
        async with asyncio.timeout(FEW_SECONDS):
            assert await first.wait() == -signal.SIGKILL
    async with process(world, log):
        await world.drained()
        await judge_held(world.database, [large.id], Verdict.SKIP, who="me", why="")

        async def all_gone() -> bool:
            return [state for _, state in await world.held()] == ["SKIPPED"]

        await until(all_gone)
        await world.publish("k1")
        await world.drained()
    assert arrived(log) == published(world, but_for=[large])


async def owns(world: RelayWorld, members: int) -> bool:
    """Whether so many processes share all the lanes."""
    owners = await world.owners()
    return len(owners) == members and sum(owners) == 17

"""The law of direct reading under trouble: each message's effect once, in lane order."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from tests.messaging.postgres.log_world import LogWorld

from waybill.messaging.core.errors import LeaseLostError, TransientError
from waybill.messaging.reading.settings import LogSettings
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.reading.subscription import OutboxSubscription

STORM = LogSettings(poll_seconds=0.1, report_seconds=0.05, lease_seconds=0.6)
UNITS = 500


@pytest.fixture
async def world(messaging_database: str, second_messaging_database: str) -> AsyncIterator[LogWorld]:
    """A producer and a consumer with a table of effects."""
    made = LogWorld(messaging_database, second_messaging_database)
    await made.open()
    await made.consuming.fetch(
        "CREATE TABLE effects (n bigserial PRIMARY KEY, id uuid NOT NULL, lane int, seq bigint)"
    )
    yield made
    await made.close()


async def consume(world: LogWorld, chance: random.Random) -> None:
    """A consumer without an inbox: only positions keep it from applying things twice."""
    member = await world.member(STORM)
    while True:
        try:
            await one_batch(world, member, chance)
        except LeaseLostError:
            await member.close()
            member = await world.member(STORM)
        except (TransientError, LookupError):
            await rewind(member)


async def one_batch(world: LogWorld, member: OutboxSubscription, chance: random.Random) -> None:
    """Fetch, apply, commit; sometimes roll back at the end."""
    batch = await member.fetch(chance.choice([1, 7, 50]))
    if not batch.scanned:
        return
    async with world.consuming.transaction() as transaction:
        await member.lock(transaction)
        await transaction.execute(
            "INSERT INTO effects (id, lane, seq)"
            " SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[])",
            [record.message.id for record in batch.records],
            [record.lane for record in batch.records],
            [record.seq for record in batch.records],
        )
        await member.record(transaction, batch.scanned)
        if chance.random() < 0.1:
            raise LookupError
    await member.acknowledge(batch.scanned)


async def rewind(member: OutboxSubscription) -> None:
    """Until it works."""
    while True:
        try:
            await member.rewind()
        except TransientError:
            await asyncio.sleep(0.02)
        else:
            return


async def trouble(world: LogWorld, chance: random.Random) -> None:
    """Lost connections, and members that freeze with their lease."""
    while True:
        await asyncio.sleep(0.1)
        if chance.random() < 0.5:
            await world.disconnect_reader()
        else:
            for keeper in [member._keeper for member in world.members[-1:]]:
                if keeper._loop is not None:
                    keeper._loop.cancel()  # it froze, with its lease


@pytest.mark.parametrize("seed", [1, 2])
async def test_each_effect_once_and_in_lane_order(world: LogWorld, seed: int) -> None:
    """Protocol O1, O2, D1, D2: with rollbacks, lost leases and connections, without an inbox."""
    chance = random.Random(seed)  # noqa: S311 - a test's seed
    keys = [f"key-{n}" for n in range(40)]
    units = [
        [a_message(chance.choice(keys)) for _ in range(chance.randint(1, 6))] for _ in range(UNITS)
    ]
    sent = {message.id for unit in units for message in unit}
    todo = iter(units)

    async def write() -> None:
        for unit in todo:
            async with world.source.transaction() as transaction:
                world.outbox.append(transaction, unit)
            await asyncio.sleep(0.01)

    loops = [
        asyncio.create_task(consume(world, random.Random(seed + 1))),  # noqa: S311 - as above
        asyncio.create_task(consume(world, random.Random(seed + 2))),  # noqa: S311 - as above
        asyncio.create_task(trouble(world, chance)),
    ]
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(write())
        async with asyncio.timeout(60):
            await all_applied(world, len(sent), loops)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    rows = await world.consuming.fetch("SELECT id, lane, seq FROM effects ORDER BY n")
    assert {row["id"] for row in rows} == sent
    assert len(rows) == len(sent)
    for lane in range(16):
        seqs = [row["seq"] for row in rows if row["lane"] == lane]
        assert seqs == sorted(seqs)


async def all_applied(world: LogWorld, count: int, loops: list[asyncio.Task[None]]) -> None:
    """Wait until so many effects are there; a loop that died fails the test."""
    while True:
        for loop in loops:
            if loop.done():
                await loop
        rows = await world.consuming.fetch("SELECT count(*) FROM effects")
        if rows[0][0] >= count:
            return
        await asyncio.sleep(0.05)

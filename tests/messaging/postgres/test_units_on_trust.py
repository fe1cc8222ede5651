"""A unit takes its messages for new ones; if that was wrong, it runs again for those that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.messaging.postgres.log_world import LogWorld

from waybill.messaging.adapters.postgres.dead_letters import PostgresDeadLetters
from waybill.messaging.adapters.postgres.inbox import PostgresInbox
from waybill.messaging.core.codec import EventType, JsonCodec
from waybill.messaging.core.errors import LeaseLostError, PermanentError
from waybill.messaging.core.message import Batch, Positions
from waybill.messaging.core.unit import Received
from waybill.messaging.runtime.each import each
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.runtime.ports import ServicePorts
from waybill.messaging.runtime.tracing import ConsumerTracing
from waybill.messaging.runtime.unit import ConsumerUnit
from waybill.messaging.testing.contracts.log import CONSUMER, next_records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.reading.subscription import OutboxSubscription
    from waybill.messaging.runtime.unit import Handler


class Seen(msgspec.Struct, frozen=True):
    """What a message says."""


class Handled:
    """A handler that counts an effect a message, and remembers whom it was run for."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.raises = False
        self.raises_late = False

    async def __call__(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        self.runs.append(len(received))
        if self.raises:
            raise ValueError("cannot decide that")
        ids = [one.message.id for one in received]
        await unit.fetch("INSERT INTO effects SELECT unnest($1::uuid[]) RETURNING id", ids)
        if self.raises_late:
            raise ValueError("cannot save that")


@pytest.fixture
async def world(messaging_database: str) -> AsyncIterator[LogWorld]:
    """Producer and consumer in one database, with a table of effects."""
    world = LogWorld(messaging_database, messaging_database)
    await world.open()
    await world.consuming.fetch("CREATE TABLE effects (id uuid)")
    yield world
    await world.close()


def unit_of(world: LogWorld, handler: Handler) -> ConsumerUnit:
    """Units of a consumer with this handler."""
    ports = ServicePorts(
        database=world.consuming,
        outbox=world.outbox,
        inbox=PostgresInbox(),
        dead_letters=PostgresDeadLetters(world.consuming, world.outbox),
        codec=JsonCodec([EventType(Seen, "seen", "Seen")]),
        producer=CONSUMER,
    )
    return ConsumerUnit(CONSUMER, ports, handler, ConsumerPolicy(), ConsumerTracing(CONSUMER))


async def effects(world: LogWorld) -> dict[object, int]:
    """How often each message was applied."""
    rows = await world.consuming.fetch("SELECT id, count(*) AS n FROM effects GROUP BY id")
    return {row["id"]: row["n"] for row in rows}


async def batch_of(world: LogWorld, member: OutboxSubscription, *keys: str) -> Batch:
    """What a member reads of messages that are published now."""
    await world.publish(*keys)
    batch = await next_records(member)
    while len(batch.records) < len(keys):
        more = await next_records(member)
        lanes = batch.scanned.lanes | more.scanned.lanes
        batch = Batch((*batch.records, *more.records), Positions(lanes))
    return batch


def received(*batches: Batch) -> list[Received]:
    """Their messages, decoded."""
    return [Received(r.message, Seen()) for batch in batches for r in batch.records]


async def test_what_was_applied_before_is_not_applied_again(world: LogWorld) -> None:
    """Protocol C1: the run that found it leaves nothing; the next run has only what is new."""
    handler = Handled()
    unit, member = unit_of(world, handler), await world.member()
    first = await batch_of(world, member, "a")
    await unit.commit(member, received(first), [], first.scanned)
    second = await batch_of(world, member, "b", "c")
    await unit.commit(member, received(first, second), [], second.scanned)
    assert handler.runs == [1, 3, 2]
    third = await batch_of(world, member, "d")
    await unit.commit(member, received(first, third), [], third.scanned)
    assert handler.runs == [1, 3, 2, 1], "after a repeat the messages are claimed first"
    assert sorted((await effects(world)).values()) == [1, 1, 1, 1]


async def test_an_error_about_what_was_applied_before_condemns_nothing(world: LogWorld) -> None:
    """A handler that cannot stand a repeat may raise before its first statement: it was no turn."""
    handler = Handled()
    unit, member = unit_of(world, handler), await world.member()
    first = await batch_of(world, member, "a")
    await unit.commit(member, received(first), [], first.scanned)
    handler.raises = True
    await unit.commit(member, received(first), [], first.scanned)
    second = await batch_of(world, member, "b")
    with pytest.raises(PermanentError, match="cannot decide"):
        await unit.commit(member, received(second), [], second.scanned)
    assert set(await effects(world)) == {record.message.id for record in first.records}


async def test_messages_that_were_all_new_stay_trusted_when_they_fail(world: LogWorld) -> None:
    """What was claimed before it failed need not be asked about again: its parts go on trust."""
    handler = Handled()
    unit, member = unit_of(world, handler), await world.member()
    first = await batch_of(world, member, "a")
    await unit.commit(member, received(first), [], first.scanned)
    second = await batch_of(world, member, "b")
    handler.raises_late = True
    with pytest.raises(PermanentError, match="cannot save"):
        await unit.commit(member, received(second), [], second.scanned)
    handler.raises_late = False
    handler.runs.clear()
    await unit.commit(member, received(first, second), [], second.scanned)
    assert handler.runs == [2, 1], "it trusted, and found the repeat"


async def test_impure_handlers_never_see_what_was_applied_before(world: LogWorld) -> None:
    """`each` asks before it calls one: what it does cannot be rolled back."""
    seen: list[object] = []

    async def note(_: UnitOfWork, one: Received) -> None:
        seen.append(one.message.id)

    unit, member = unit_of(world, each({Seen: note})), await world.member()
    first = await batch_of(world, member, "a")
    await unit.commit(member, received(first), [], first.scanned)
    second = await batch_of(world, member, "b")
    await unit.commit(member, received(first, second), [], second.scanned)
    assert seen == [one.message.id for one in received(first, second)]


async def test_d1_who_lost_the_lease_applies_nothing(world: LogWorld) -> None:
    """Protocol D1: the fence goes ahead of the handler's statement, and stops it."""
    handler = Handled()
    unit, silent = unit_of(world, handler), await world.member()
    batch = await batch_of(world, silent, "a")
    silent._keeper._loop.cancel()  # type: ignore[union-attr]  # it stops renewing, as if frozen
    await world.member()
    with pytest.raises(LeaseLostError):
        await unit.commit(silent, received(batch), [], batch.scanned)
    assert await effects(world) == {}

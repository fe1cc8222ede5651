"""Protocol D7: what this process commits reaches its readers without being read, and safely."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.messaging.postgres.log_world import FEW_SECONDS, SOURCE, LogWorld, Stoppable

from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.source import OutboxSource
from waybill.messaging.reading import at_hand as at_hand_module
from waybill.messaging.reading import reader as reader_module
from waybill.messaging.reading import settings as settings_module
from waybill.messaging.reading.reader import SourceReader
from waybill.messaging.reading.settings import LogSettings
from waybill.messaging.testing.contracts.log import (
    OTHER_TOPIC,
    TOPIC,
    commit,
    next_records,
    publish,
    read_all,
)
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.message import Appended
    from waybill.messaging.core.ports import Row
    from waybill.messaging.reading.at_hand import Scanned
    from waybill.messaging.reading.subscription import OutboxSubscription

NEVER_SECONDS = 3_600.0
SLOW_POLL = LogSettings(poll_seconds=1.0, lease_seconds=10.0)


class Fetches:
    """Counts how often the source's table was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        fetch = OutboxSource.fetch

        async def counted(
            source: OutboxSource,
            lanes: Sequence[int],
            positions: Sequence[int],
            topics: Sequence[str],
            limit: int,
        ) -> Sequence[Row]:
            self.count += 1
            return await fetch(source, lanes, positions, topics, limit)

        monkeypatch.setattr(OutboxSource, "fetch", counted)


@pytest.fixture
async def world(messaging_database: str, second_messaging_database: str) -> AsyncIterator[LogWorld]:
    """A source and a consumer's database of their own."""
    opened = LogWorld(messaging_database, second_messaging_database)
    await opened.open()
    yield opened
    await opened.close()


async def settled_member(world: LogWorld, settings: LogSettings = SLOW_POLL) -> OutboxSubscription:
    """A member that has read everything there is, and whose next poll never comes."""
    clock = Stoppable()
    member = await world.member(settings, doorbells={SOURCE: world.bell}, monotonic=clock)
    await world.publish("first")
    await read_all(member, world.consuming, 1)
    clock.stop()
    return member


async def test_what_is_handed_over_is_what_would_be_read(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handed-over record equals the one that a reader of another process gets, field by field."""
    member = await settled_member(world)
    fetches = Fetches(monkeypatch)
    messages = [
        a_message("k"),
        a_message("other", topic=OTHER_TOPIC),
        a_message("k", headers={"h": b"\xff\x00"}, correlation_id="", traceparent=None),
        a_message("l", aggregate_version=3, correlation_id="l", producer="parcels"),
    ]
    await publish(world.source, world.outbox, messages)
    heard = await read_all(member, world.consuming, 3)
    assert fetches.count == 0
    stranger = await world.member(consumer="stranger", topics=(TOPIC,))
    read = await read_all(stranger, world.consuming, 4)
    assert read[1:] == heard


async def test_what_nobody_wants_wakes_nobody(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that waits looks again for its own topics' messages only."""
    monkeypatch.setattr(settings_module, "POLL_SECONDS_MAX", NEVER_SECONDS)
    member = await settled_member(world, LogSettings(poll_seconds=NEVER_SECONDS))
    looks = 0
    take = SourceReader.take

    def counted(reader: SourceReader, limit: int) -> list[Scanned]:
        nonlocal looks
        looks += 1
        return take(reader, limit)

    monkeypatch.setattr(SourceReader, "take", counted)
    waiting = asyncio.create_task(member.fetch(10))
    await world.publish("k", "l", topic=OTHER_TOPIC)
    await world.publish("m", topic=OTHER_TOPIC)
    (wanted,) = await world.publish("n")
    batch = await waiting
    assert [record.message.id for record in batch.records] == [wanted.id]
    assert len(batch.scanned.lanes) > 1  # they were passed over all the same (protocol D2)
    assert looks == 2


async def test_a_fetch_waits_no_longer_than_asked(world: LogWorld) -> None:
    """With `within_seconds=0` it is over at once, though its own time never passes."""
    member = await settled_member(world)
    async with asyncio.timeout(FEW_SECONDS):
        batch = await member.fetch(10, within_seconds=0.0)
    assert batch.records == ()


async def test_lane_that_another_process_wrote_is_read_first(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message from elsewhere stands between: the reader looks, and takes both in their order."""
    monkeypatch.setattr(reader_module, "HINT_SECONDS", 0.0)
    member = await settled_member(world)
    fetches = Fetches(monkeypatch)
    foreign = [a_message("k"), a_message("m")]
    await publish(world.source, PostgresOutbox(), foreign)
    (own,) = await world.publish("k")
    records = await read_all(member, world.consuming, 3)
    assert fetches.count > 0
    assert [r.message.id for r in records if r.message.key == "k"] == [foreign[0].id, own.id]
    assert {r.message.id for r in records} == {own.id, *(message.id for message in foreign)}


async def test_commits_that_are_told_in_another_order_are_not_read(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two commits the later may be told first: its message waits for the one before it."""
    member = await settled_member(world)
    fetches = Fetches(monkeypatch)
    told: list[Sequence[Appended]] = []
    with monkeypatch.context() as patched:
        patched.setattr(world.outbox, "_doorbell", told.append)
        sent = [message for _ in range(3) for message in await world.publish("k")]
    for appended in reversed(told):
        world.bell.ring(appended)
    records = await read_all(member, world.consuming, len(sent))
    assert [record.message.id for record in records] == [message.id for message in sent]
    assert fetches.count == 0


@pytest.mark.parametrize("told_by", ["a hole in its lane", "a notification"])
async def test_a_busy_process_follows_a_hint_soon(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    """What another process wrote is looked for at once, though this one has others at hand."""
    monkeypatch.setattr(settings_module, "POLL_SECONDS_MAX", NEVER_SECONDS)
    settings = LogSettings(poll_seconds=NEVER_SECONDS)
    member = await world.member(settings, doorbells={SOURCE: world.bell})
    await world.publish("busy")
    await read_all(member, world.consuming, 1)
    foreign = a_message("k")
    await publish(world.source, PostgresOutbox(), [foreign])
    if told_by == "a notification":
        (reader,) = member._readers.values()
        reader.set()
    else:
        await world.publish("k")
    seen: set[object] = set()
    for _ in range(500):
        seen |= await while_busy(world, member, limit=2)
        if foreign.id in seen:
            break
    assert foreign.id in seen


async def test_rolled_back_batch_comes_again_from_the_table(world: LogWorld) -> None:
    """After a rewind nothing that was handed over is lost: the stored position decides."""
    member = await settled_member(world)
    sent = await world.publish("a", "b")
    batch = await next_records(member)
    assert len(batch.records) == 2
    await member.rewind()
    sent += await world.publish("a")
    records = await read_all(member, world.consuming, 3)
    assert [record.message.id for record in records if record.message.key == "a"] == [
        sent[0].id,
        sent[2].id,
    ]
    assert len(records) == 3


@pytest.mark.parametrize("limit", ["HEARD_MAX", "BATCH_BYTES_MAX"])
async def test_what_comes_early_is_kept_within_the_limit(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Behind a hole no more is kept than ahead of a slow reader; all of it is read once closed."""
    monkeypatch.setattr(reader_module, "HINT_SECONDS", 0.0)
    member = await settled_member(world)
    monkeypatch.setattr(at_hand_module, limit, 4)
    foreign = a_message("k")
    await publish(world.source, PostgresOutbox(), [foreign])
    sent = [message for _ in range(12) for message in await world.publish("k")]
    (reader,) = member._readers.values()
    assert len(reader._at_hand._early) <= 4
    records = await read_all(member, world.consuming, 1 + len(sent))
    assert [record.message.id for record in records] == [foreign.id, *(one.id for one in sent)]


@pytest.mark.parametrize("limit", ["HEARD_MAX", "BATCH_BYTES_MAX"])
async def test_reader_that_is_behind_keeps_no_more_than_its_limit(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """What a slow reader does not take is dropped from memory and read later, none of it lost."""
    member = await settled_member(world)
    monkeypatch.setattr(at_hand_module, limit, 4)
    sent = [message for n in range(12) for message in await world.publish("k", f"x{n}")]
    assert len(member_backlog(member)) <= 4
    records = await read_all(member, world.consuming, len(sent))
    assert {record.message.id for record in records} == {message.id for message in sent}
    ordered = [record.message.id for record in records if record.message.key == "k"]
    assert ordered == [message.id for message in sent if message.key == "k"]


async def test_poll_comes_while_messages_are_handed_over(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy process does not keep its reader from seeing what another process wrote elsewhere."""
    quick = LogSettings(poll_seconds=0.05)
    member = await world.member(quick, doorbells={SOURCE: world.bell})
    await world.publish("busy")
    await read_all(member, world.consuming, 1)
    fetches = Fetches(monkeypatch)
    foreign = a_message("quiet")
    await publish(world.source, PostgresOutbox(), [foreign])
    seen: set[object] = set()
    for _ in range(300):
        seen |= await while_busy(world, member, limit=1)
        if fetches.count:
            break
    assert fetches.count > 0
    records = await read_all(member, world.consuming, len(member_backlog(member)))
    assert foreign.id in seen | {record.message.id for record in records}


async def while_busy(world: LogWorld, member: OutboxSubscription, limit: int) -> set[object]:
    """One fetch while this process commits: one is ready whenever the member looks. Ids it got."""
    await world.publish("busy")
    await world.publish("busy")
    batch = await member.fetch(limit)
    await commit(member, world.consuming, batch)
    return {record.message.id for record in batch.records}


def member_backlog(member: OutboxSubscription) -> list[object]:
    """What it holds ready."""
    return [each for reader in member._readers.values() for each in reader._at_hand._ready]

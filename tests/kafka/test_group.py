"""Members of a group: what moves from one to the other loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.kafka.group_world import fresh_topics
from tests.kafka.reading import name_of, settings_for

from waybill.messaging.adapters.kafka.log import KafkaLog
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.adapters.memory import MemoryDatabase
from waybill.messaging.adapters.memory.partition_positions import MemoryPartitionPositions
from waybill.messaging.core.errors import AssignmentLostError, TransientError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import Record
from waybill.messaging.testing.contracts.log import commit, next_records
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.kafka.broker import OtherBroker

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Batch
    from waybill.messaging.core.ports import Subscription

SOON_SECONDS = 30.0


class Group:
    """One consumer's group over one topic, with the database that its members share."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.topic, self.name = name_of("parcels"), name_of("tracking")
        self.database = MemoryDatabase()
        self.positions = MemoryPartitionPositions(self.database)
        self.writer = KafkaLogWriter(settings)

    async def publish(self, count: int) -> set[UUID]:
        """So many messages of many keys; their ids."""
        sent = [a_message(f"key-{n}", topic=self.topic) for n in range(count)]
        written = await self.writer.write([Record("p", 0, n, each) for n, each in enumerate(sent)])
        assert written.error is None
        return {each.id for each in sent}

    @asynccontextmanager
    async def member(self, **settings: object) -> AsyncIterator[Subscription]:
        """One that closes at the end."""
        log = KafkaLog(replace(self.settings, **settings), self.positions)  # type: ignore[arg-type]
        subscription = await log.subscribe(self.name, [self.topic])
        try:
            yield subscription
        finally:
            await subscription.close()

    async def read(self, member: Subscription, wanted: set[UUID]) -> list[Record]:
        """Fetch and commit until all of these came; what came, repeats too."""
        records: list[Record] = []
        async with asyncio.timeout(SOON_SECONDS):
            while not wanted <= {each.message.id for each in records}:
                try:
                    batch = await member.fetch(50)
                    if batch.records:
                        await commit(member, self.database, batch)
                        records += batch.records
                except (AssignmentLostError, TransientError):
                    await member.rewind()
        return records

    async def nothing_more(self, member: Subscription) -> None:
        """Whatever comes now would be a repeat."""
        for _ in range(3):
            assert (await member.fetch(50)).records == ()


def ids(batch: Batch) -> set[UUID]:
    """Of its messages."""
    return {each.message.id for each in batch.records}


async def all_at_once(member: Subscription, count: int) -> Batch:
    """One batch with records of every partition, not committed."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            batch = await next_records(member, count)
            if len(batch.records) == count:
                return batch
            await member.rewind()


newest_first = pytest.mark.parametrize(
    "group", ["consumer", pytest.param("classic", marks=pytest.mark.long)], indirect=True
)
"""What waits for time-outs; by the older protocol it is `make test-faults`."""


@pytest.fixture(params=["consumer", "classic"])
async def group(kafka: OtherBroker, request: pytest.FixtureRequest) -> AsyncIterator[Group]:
    """On a topic of its own, by either protocol."""
    made = Group(replace(settings_for(kafka.bootstrap), group_protocol=request.param))
    await Topics(made.settings).prepare([made.topic])
    yield made
    await made.writer.close()


async def test_unit_in_work_is_finished_before_its_partition_moves(group: Group) -> None:
    """B28: a rebalance waits for what was handed out, and the next member starts behind it."""
    sent = await group.publish(60)
    async with group.member() as first:
        batch = await all_at_once(first, 60)
        async with group.member() as second:
            joining = asyncio.create_task(second.fetch(50))
            await asyncio.sleep(0.2)
            await commit(first, group.database, batch)
            assert (await joining).records == ()
            late = await group.publish(60)
            shares = await _share(group, first, second, late)
        assert shares == [late, set()] or all(shares)
        assert ids(batch) == sent


async def _share(
    group: Group, first: Subscription, second: Subscription, wanted: set[UUID]
) -> list[set[UUID]]:
    """Both read until all came, each message once: what each of them had."""
    shares: list[set[UUID]] = [set(), set()]
    async with asyncio.timeout(SOON_SECONDS):
        while shares[0] | shares[1] != wanted:
            for share, member in zip(shares, (first, second), strict=True):
                try:
                    batch = await member.fetch(7)
                    if batch.records:
                        await commit(member, group.database, batch)
                except AssignmentLostError:
                    await member.rewind()
                else:
                    assert not ids(batch) & (shares[0] | shares[1])
                    share.update(ids(batch))
    return shares


@newest_first
async def test_unit_that_does_not_end_in_time_cannot_commit(group: Group) -> None:
    """Protocol C15, B26: its partition is another member's, so its record raises before COMMIT."""
    sent = await group.publish(60)
    async with group.member(revoke_wait_seconds=0.1) as first:
        batch = await all_at_once(first, 60)
        async with group.member() as second:
            # All goes to the second at last, while the first sits on what it has.
            got = set[UUID]()
            with pytest.raises(AssignmentLostError):
                async with asyncio.timeout(SOON_SECONDS):
                    while True:
                        await first.fetch(1)
                        found = await second.fetch(50)
                        if found.records:
                            await commit(second, group.database, found)
                            got |= ids(found)
            with pytest.raises(AssignmentLostError):
                await commit(first, group.database, batch)
            await first.rewind()
            shares = await _share(group, first, second, sent - got)
            assert got | shares[0] | shares[1] == sent


async def test_member_that_another_took_for_dead_joins_the_work_again(group: Group) -> None:
    """Protocol C15: the database's token stops it, whatever it believes; then it asks anew."""
    sent = await group.publish(30)
    async with group.member() as member:
        batch = await all_at_once(member, 30)
        places = [(group.topic, partition) for partition in range(6)]
        await group.positions.take(group.name, new_id(), places)
        with pytest.raises(AssignmentLostError):
            await commit(member, group.database, batch)
        await member.rewind()
        records = await group.read(member, sent)
        assert {each.message.id for each in records} == sent


async def test_restored_database_reads_again_what_it_has_forgotten(group: Group) -> None:
    """Protocol C15: it lies behind the group's offsets, which therefore do not count."""
    sent = await group.publish(30)
    async with group.member() as member:
        await group.read(member, sent)
    group.database = MemoryDatabase()
    group.positions = MemoryPartitionPositions(group.database)
    token = new_id()
    await group.positions.take(group.name, token, [(group.topic, 0)])
    async with group.member() as member:
        assert {each.message.id for each in await group.read(member, sent)} == sent
        await group.nothing_more(member)


@newest_first
async def test_rewinds_at_any_time_skip_nothing_and_keep_the_order(group: Group) -> None:
    """Protocol D1: a rolled back batch comes again before anything behind it."""
    dice = random.Random(7)  # noqa: S311 - a test's own
    async with group.member(poll_records_max=20) as member, asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(group.publish(600))
        sent = set[UUID]()
        seen: dict[int, list[int]] = {}
        async with asyncio.timeout(SOON_SECONDS):
            while not publishing.done() or len(sent) < 600:
                batch = await member.fetch(1 + dice.randrange(40))
                if batch.records and dice.random() < 0.4:
                    await member.rewind()
                elif batch.records:
                    await commit(member, group.database, batch)
                    sent |= ids(batch)
                    for record in batch.records:
                        seen.setdefault(record.lane, []).append(record.seq)
    assert sent == publishing.result()
    assert all(offsets == list(range(len(offsets))) for offsets in seen.values())


async def test_group_is_told_what_was_read(group: Group) -> None:
    """Lag as any tool shows it: offsets follow the database within the interval, and at the end."""
    sent = await group.publish(30)
    async with group.member(commit_interval_seconds=60.0) as member:
        await group.read(member, sent)
    stored = await group.positions.stored(group.name)
    client = Consumer({"bootstrap.servers": group.settings.brokers, "group.id": group.name})
    asked = [TopicPartition(group.topic, number) for number in range(6)]
    told = await asyncio.to_thread(client.committed, asked)
    client.close()
    offsets = {(each.topic, each.partition): each.offset for each in told if each.offset >= 0}
    assert offsets == {place: each.offset + 1 for place, each in stored.items()}


async def test_deleted_topic_is_an_outage_and_its_successor_another_log(kafka: OtherBroker) -> None:
    """Nothing is counted, nothing crashes, and the new one is read from its start."""
    group = Group(settings_for(kafka.bootstrap))
    await Topics(group.settings).prepare([group.topic])
    async with group.member() as member:
        await group.read(member, await group.publish(20))
        client = AdminClient({"bootstrap.servers": kafka.bootstrap})
        await asyncio.wrap_future(client.delete_topics([group.topic])[group.topic])
        with pytest.raises(TransientError, match="has no topic"):
            async with asyncio.timeout(SOON_SECONDS):
                while True:
                    await member.fetch(50)
        await fresh_topics(group.settings, [group.topic])
        await group.writer.close()
        group.writer = KafkaLogWriter(group.settings)
        sent = await group.publish(20)
        await group.read(member, sent)
    assert {each.offset for each in (await group.positions.stored(group.name)).values()} <= set(
        range(20)
    )
    await group.writer.close()


@pytest.mark.long
async def test_nobody_takes_records_for_longer_than_a_poll_may_last(kafka: OtherBroker) -> None:
    """R147: a database that is away costs no membership: the thread pauses and polls on."""
    settings = replace(
        settings_for(kafka.bootstrap),
        group_protocol="classic",
        session_timeout_seconds=6.0,
        heartbeat_seconds=1.0,
        poll_interval_seconds_max=6.0,
        pause_after_seconds=0.2,
        poll_records_max=10,
    )
    group = Group(settings)
    await Topics(settings).prepare([group.topic])
    sent = await group.publish(200)
    async with group.member() as member:
        batch = await next_records(member, 5)
        await asyncio.sleep(7.5)
        await commit(member, group.database, batch)
        records = await group.read(member, sent - ids(batch))
        assert {each.message.id for each in records} == sent - ids(batch)
        assert len(records) == 200 - len(batch.records)
    await group.writer.close()

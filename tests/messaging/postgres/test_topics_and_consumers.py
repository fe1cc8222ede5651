"""What `waybill topics` and `waybill consumers` show and do, on PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.messaging.postgres.log_world import SOURCE, LogWorld, eventually

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.consumer_places import PLACES
from waybill.messaging.adapters.postgres.consumers import forget_consumer, list_consumers
from waybill.messaging.adapters.postgres.dead_letters import PostgresDeadLetters
from waybill.messaging.adapters.postgres.deliveries import PostgresDeliveries
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.roles import grants
from waybill.messaging.adapters.postgres.schedule import PostgresSchedule
from waybill.messaging.adapters.postgres.topics import list_topics, read_topic
from waybill.messaging.adapters.postgres.verdicts import list_dead_letters
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX
from waybill.messaging.core.outcome import Delivered
from waybill.messaging.testing.contracts.dead_letters import a_letter
from waybill.messaging.testing.contracts.deliveries import a_delivery
from waybill.messaging.testing.contracts.log import (
    CONSUMER,
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

    from waybill.messaging.core.consumers import ConsumerInfo
    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Database, DeadLetters


@pytest.fixture
async def world(messaging_database: str, second_messaging_database: str) -> AsyncIterator[LogWorld]:
    """A producer and a consumer."""
    made = LogWorld(messaging_database, second_messaging_database)
    await made.open()
    yield made
    await made.close()


async def consumers(world: LogWorld) -> Sequence[ConsumerInfo]:
    """As the command asks."""
    return await world.engine.list_consumers({SOURCE: world.source}, {"tracking": world.consuming})


def letters(world: LogWorld, database: Database) -> DeadLetters:
    """Those of a database of this world."""
    return world.engine.dead_letters(
        database,
        world.outbox,
        suffix=DEAD_LETTER_SUFFIX,
        message_bytes_max=MESSAGE_BYTES_MAX,
    )


async def test_topics_are_listed_with_what_is_retained(world: LogWorld) -> None:
    """Name, source, number, first and last seq and time; also the dead letter topics."""
    await world.publish("a", "b", "c")
    await world.publish("a", topic=OTHER_TOPIC)
    async with world.consuming.transaction() as transaction:
        await letters(world, world.consuming).add(transaction, [a_letter()])
    infos = await world.engine.topics.list_topics(
        {SOURCE: world.source, "tracking": world.consuming}
    )
    assert [(info.topic, info.source, info.rows) for info in infos] == [
        (OTHER_TOPIC, SOURCE, 1),
        (TOPIC, SOURCE, 3),
        (TOPIC + ".DLT", "tracking", 1),
    ]
    assert (infos[1].first_seq, infos[1].last_seq) == (1, 3)
    assert infos[1].first_at <= infos[1].last_at


async def read(world: LogWorld, topic: str, key: str | None = None) -> list[Record]:
    """All records of a topic, from both databases."""
    sources = {SOURCE: world.source, "tracking": world.consuming}
    return [record async for record in world.engine.topics.read_topic(sources, topic, key=key)]


async def test_topic_is_read_lane_by_lane_in_seq_order(world: LogWorld) -> None:
    """More than a page, other topics between, each record once; a key can be picked."""
    keys = [f"key-{n % 40}" for n in range(1_200)]
    await publish(
        world.source,
        world.outbox,
        [a_message(key, topic=OTHER_TOPIC if n % 3 else TOPIC) for n, key in enumerate(keys)],
    )
    records = await read(world, TOPIC)
    assert len(records) == 400
    for lane in range(16):
        seqs = [record.seq for record in records if record.lane == lane]
        assert seqs == sorted(set(seqs))
    of_key = await read(world, TOPIC, key="key-3")
    assert {record.message.key for record in of_key} == {"key-3"}
    assert await world.registered() is None


async def test_dead_letter_topic_unites_the_outboxes_of_its_consumers(world: LogWorld) -> None:
    """Protocol C5: one topic, whoever failed on it."""
    for database, consumer in ((world.source, "billing"), (world.consuming, "tracking")):
        async with database.transaction() as transaction:
            await letters(world, database).add(transaction, [a_letter(consumer)])
    records = await read(world, TOPIC + ".DLT")
    groups = {r.message.headers["kafka_dlt-original-consumer-group"] for r in records}
    assert groups == {b"billing", b"tracking"}


async def test_following_a_topic_from_its_end(world: LogWorld) -> None:
    """Only what is committed from now on, as it comes."""
    await world.publish("old")
    sources = {SOURCE: world.source}
    following = world.engine.topics.read_topic(sources, TOPIC, from_end=True, follow=True)
    next_one = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.1)
    (sent,) = await world.publish("new")
    async with asyncio.timeout(10):
        assert (await next_one).message == sent
    await following.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_consumers_are_listed_with_lag_and_lease(world: LogWorld) -> None:
    """Unread messages of its own topics, as reported; whether a member runs; when it was seen."""
    member = await world.member()
    await world.publish("a", "b", "c")
    await world.publish("a", topic=OTHER_TOPIC)
    (info,) = await consumers(world)
    assert (info.consumer, info.source, info.topics) == (CONSUMER, SOURCE, (TOPIC,))
    assert (info.lag, info.is_running, info.is_silent, info.is_registered) == (3, True, False, True)
    records = await read_all(member, world.consuming, 3)
    assert len(records) == 3

    async def caught_up() -> bool:
        await member.fetch(10)
        return (await consumers(world))[0].lag == 0

    await eventually(caught_up)
    await member.close()
    assert (await consumers(world))[0].is_running is False


async def test_silent_and_unknown_consumers_are_shown(world: LogWorld) -> None:
    """Protocol D4: a day of silence is alarmed; one that holds nothing back is listed too."""
    member = await world.member()
    await member.close()
    await world.at_source("UPDATE messaging.outbox_reader SET seen_at = seen_at - interval '2' day")
    (info,) = await consumers(world)
    assert info.is_silent
    await world.at_source("DELETE FROM messaging.outbox_reader")
    (info,) = await consumers(world)
    assert (info.is_registered, info.lag, info.seen_at) == (False, None, None)


async def test_commands_need_no_more_than_the_roles_have(
    world: LogWorld, messaging_database: str, second_messaging_database: str
) -> None:
    """Listing and forgetting run as service roles, a reset with the source's reader role."""
    member = await world.member()
    await world.publish("a", "b")
    await read_all(member, world.consuming, 2)
    await member.close()
    roles = ("commands_service", "commands_reader")
    for role in roles:
        await world.source.fetch(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    for database in (world.source, world.consuming):
        for statement in grants(*roles):
            await database.fetch(statement)
    source, reader, consuming = [
        await PostgresDatabase.connect(f"postgresql://{role}:p@{url.split('@')[1]}")
        for role, url in (
            (roles[0], messaging_database),
            (roles[1], messaging_database),
            (roles[0], second_messaging_database),
        )
    ]
    try:
        assert [info.rows for info in await list_topics({SOURCE: source})] == [2]
        assert len([r async for r in read_topic({SOURCE: source}, TOPIC)]) == 2
        (info,) = await list_consumers({SOURCE: source}, {CONSUMER: consuming})
        assert info.is_running is False
        which = {"consumer": CONSUMER, "source_name": SOURCE}
        await PLACES.reset(consuming, reader, **which, to="horizon")
        assert await forget_consumer(source, **which, consuming=consuming, force=True)
        assert await list_consumers({SOURCE: source}, {CONSUMER: consuming}) == []
        await use_every_table(consuming)
    finally:
        for database in (source, reader, consuming):
            await database.close()
        for database in (world.source, world.consuming):
            await database.fetch(f"DROP OWNED BY {', '.join(roles)}")
        await world.source.fetch(f"DROP ROLE {', '.join(roles)}")


async def use_every_table(database: PostgresDatabase) -> None:
    """Dead letters, deliveries and schedule, with the rights of a service."""
    letters, deliveries = PostgresDeadLetters(database, PostgresOutbox()), a_delivery("a")
    owed = PostgresDeliveries(database)
    async with database.transaction() as transaction:
        await letters.add(transaction, [a_letter()])
        await owed.add(transaction, [deliveries], lease_token=None, lease_seconds=1)
        await owed.settle(transaction, [(deliveries, Delivered())])
    assert len(await list_dead_letters(database)) == 1
    schedule = PostgresSchedule(database)
    await schedule.register(["purge"])
    assert list(await schedule.claim(["purge"], lease_token=new_id(), lease_seconds=1))


async def test_reset_to_the_end_and_to_a_position(world: LogWorld) -> None:
    """Skip what is there, or read again from a seq; a position that is not there is refused."""
    sent = await world.publish("a", "a", "a", "a")
    reset = {"consumer": CONSUMER, "source_name": SOURCE}
    with pytest.raises(ConfigurationError, match="never read"):
        await world.engine.places.reset(world.consuming, world.source, **reset, to="end")
    member = await world.member()
    await member.close()
    await world.engine.places.reset(world.consuming, world.source, **reset, to="end")
    member = await world.member()
    (new,) = await world.publish("a")
    assert [r.message.id for r in await read_all(member, world.consuming, 1)] == [new.id]
    await member.close()
    await world.engine.places.reset(world.consuming, world.source, **reset, to=2)
    member = await world.member()
    batch = await next_records(member)
    await commit(member, world.consuming, batch)
    assert [r.message.id for r in batch.records] == [m.id for m in [*sent[2:], new]]
    with pytest.raises(ConfigurationError, match="is not there"):
        await world.engine.places.reset(world.consuming, world.source, **reset, to=99)

"""What `waybill topics` and `waybill consumers` show and do: PostgreSQL's tests, and the rights."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.mariadb import Databases
from tests.messaging.mysql.log_world import MysqlLogWorld
from tests.messaging.postgres.log_world import SOURCE
from tests.messaging.postgres.test_topics_and_consumers import (
    test_consumers_are_listed_with_lag_and_lease,
    test_dead_letter_topic_unites_the_outboxes_of_its_consumers,
    test_following_a_topic_from_its_end,
    test_reset_to_the_end_and_to_a_position,
    test_silent_and_unknown_consumers_are_shown,
    test_topic_is_read_lane_by_lane_in_seq_order,
    test_topics_are_listed_with_what_is_retained,
)

from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.messaging.adapters.mysql.migrate import upgrade
from waybill.messaging.adapters.mysql.roles import grants
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.testing.contracts.log import CONSUMER, TOPIC, read_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "test_consumers_are_listed_with_lag_and_lease",
    "test_dead_letter_topic_unites_the_outboxes_of_its_consumers",
    "test_following_a_topic_from_its_end",
    "test_reset_to_the_end_and_to_a_position",
    "test_silent_and_unknown_consumers_are_shown",
    "test_topic_is_read_lane_by_lane_in_seq_order",
    "test_topics_are_listed_with_what_is_retained",
]


@pytest.fixture
async def world(server_url: str, messaging_database: str) -> AsyncIterator[MysqlLogWorld]:
    """A producer and a consumer."""
    databases = Databases(server_url)
    consumer_url = await databases.make()
    await upgrade(consumer_url)
    made = MysqlLogWorld(messaging_database, consumer_url)
    await made.open()
    yield made
    await made.close()
    await databases.drop(consumer_url)


async def test_commands_need_no_more_than_the_roles_have(world: MysqlLogWorld) -> None:
    """A reset and a drain place a consumer as the source's reader and the consumer's own role."""
    member = await world.member()
    await world.publish("a", "b")
    await read_all(member, world.consuming, 2)
    await member.close()
    roles = ("commands_service", "commands_reader")
    opened = {}
    for role, database in zip(roles, (world.consuming, world.source), strict=True):
        await database.fetch(f"CREATE USER '{role}'@'%' IDENTIFIED BY 'p'")
    for database in (world.consuming, world.source):
        name = (await database.fetch("SELECT database()"))[0][0]
        await database.fetch(f"GRANT SELECT ON `{name}`.* TO 'commands_service'@'%'")
        for statement in grants(*roles):
            await database.fetch(statement)
    try:
        for role, url in zip(roles, (world.consumer_url, world.source_url), strict=True):
            place = urlsplit(url)
            host = place.netloc.rpartition("@")[2]
            login = place._replace(netloc=f"{role}:p@{host}").geturl()
            opened[role] = await MysqlDatabase.connect(login)
        consuming, reader = opened.values()
        which = {"consumer": CONSUMER, "source_name": SOURCE}
        await world.engine.places.reset(consuming, reader, **which, to="horizon")
        end = [2] * ALL_LANES
        await world.engine.places.place(consuming, reader, **which, topics=[TOPIC], positions=end)
        assert await world.engine.forget_consumer(
            world.source, **which, consuming=consuming, force=True
        )
    finally:
        for database in opened.values():
            await database.close()
        for role in roles:
            await world.source.fetch(f"DROP USER '{role}'@'%'")

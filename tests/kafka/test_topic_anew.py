"""A topic that is deleted and made anew is read by the members that read the old one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from tests.commerce.support import eventually
from tests.kafka.broker import running_broker
from tests.kafka.reading import settings_for
from tests.kafka.test_group import Group

from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka.broker import Broker

    from waybill.messaging.core.ports import Subscription


@pytest.fixture(scope="module")
def broker(session_directory: Path) -> Iterator[Broker]:
    """One that may be restarted."""
    with running_broker(session_directory / "kafka-anew") as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
async def test_c15_members_read_a_topic_that_is_made_anew(broker: Broker, protocol: str) -> None:
    """Protocol C15: without a restart of ours, though the broker was restarted before.

    A partition's leader epoch grows with each restart and begins at 0 in the new topic: a client
    that knew the old one takes what it is told of the new one for old news, for ever.
    """
    group = Group(replace(settings_for(broker.bootstrap), group_protocol=protocol))
    await Topics(group.settings).prepare([group.topic])
    async with group.member() as member:
        await group.read(member, await group.publish(12))
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await group.read(member, await group.publish(12))
        await made_anew(broker.bootstrap, group.topic, member)
        await group.read(member, await group.publish(12))
    await group.writer.close()


async def made_anew(bootstrap: str, topic: str, member: Subscription) -> None:
    """Delete this topic, and make it again once its reader has seen that it is gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for future in admin.delete_topics([topic]).values():
        await asyncio.wrap_future(future)

    async def is_missed() -> bool:
        try:
            await member.fetch(50)
        except TransientError as error:
            return f"no topic '{topic}'" in str(error)
        return False

    await eventually(is_missed, 30)
    await Topics(settings_for(bootstrap)).prepare([topic])

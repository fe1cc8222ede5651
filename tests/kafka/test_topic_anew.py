"""A topic that is deleted and made anew is read by the members that read the old one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from tests.commerce.support import eventually
from tests.kafka.broker import running_broker
from tests.kafka.reading import name_of, settings_for
from tests.kafka.test_group import Group
from tests.kafka.test_witness import publish, records

from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.witness import KafkaWitness
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka.broker import Broker

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
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


@pytest.mark.long
async def test_l6_a_topic_that_is_made_anew_is_watched(broker: Broker) -> None:
    """Protocol L6: the monitor of change data capture sees what is published to the new one."""
    settings, topic = settings_for(broker.bootstrap), name_of("witnessed")
    await Topics(settings).prepare([topic])
    witness = KafkaWitness(settings, look_again_seconds=2.0)
    await seen(settings, witness, topic)
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    await seen(settings, witness, topic)
    await deleted(broker.bootstrap, topic)
    await asyncio.sleep(1)  # the broker forgets it meanwhile
    await Topics(settings).prepare([topic])
    await seen(settings, witness, topic)
    await witness.close()


async def seen(settings: KafkaSettings, witness: KafkaWitness, topic: str) -> None:
    """What is published now is acknowledged."""
    run = records(topic, 12)
    await publish(settings, run)
    assert (await asyncio.wait_for(witness.write(run), 45)).acknowledged == len(run)


async def deleted(bootstrap: str, topic: str) -> None:
    """Delete this topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for future in admin.delete_topics([topic]).values():
        await asyncio.wrap_future(future)


async def made_anew(bootstrap: str, topic: str, member: Subscription) -> None:
    """Delete this topic, and make it again once its reader has seen that it is gone."""
    await deleted(bootstrap, topic)

    async def is_missed() -> bool:
        try:
            await member.fetch(50)
        except TransientError as error:
            return f"no topic '{topic}'" in str(error)
        return False

    await eventually(is_missed, 30)
    await Topics(settings_for(bootstrap)).prepare([topic])

"""Groups speak KIP-848 where the brokers do, and the classic protocol where they do not."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import ConsumerGroupType, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from tests.kafka.broker import running_broker
from tests.kafka.reading import settings_for
from tests.kafka.test_group import Group

from waybill.messaging.adapters.kafka.admin import Admin
from waybill.messaging.adapters.kafka.topics import PROTOCOLS_PROPERTY, Topics
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long
@pytest.mark.parametrize("spoken", ["classic", "classic,consumer"])
async def test_a_group_speaks_what_its_broker_speaks(session_directory: Path, spoken: str) -> None:
    """Without a setting of ours; either way every record is read."""
    directory = session_directory / f"speaks-{len(spoken)}"
    with running_broker(directory, settings={PROTOCOLS_PROPERTY: spoken}) as broker:
        settings = replace(settings_for(broker.bootstrap), group_protocol="auto")
        wanted = spoken.rpartition(",")[2]
        assert await Topics(settings).group_protocol() == wanted
        group = Group(settings)
        await Topics(settings).prepare([group.topic])
        async with group.member() as member:
            await group.read(member, await group.publish(12))
            kind = await asyncio.to_thread(kind_of, broker.bootstrap, group.name)
        await group.writer.close()
    assert kind == ConsumerGroupType[wanted.upper()]


def kind_of(bootstrap: str, group: str) -> ConsumerGroupType:
    """By which protocol its members are in this group, as the broker sees it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    kind: ConsumerGroupType = admin.describe_consumer_groups([group])[group].result(30).type
    return kind


class Answering:
    """A cluster of two brokers that answers every question about its configuration like this."""

    def __init__(self, answer: dict[str, Any] | KafkaException) -> None:
        self._answer = answer

    def list_topics(self, *, timeout: float) -> SimpleNamespace:
        """See AdminClient."""
        assert timeout > 0
        return SimpleNamespace(brokers={2: None, 1: None})

    def describe_configs(self, asked: list[Any], *, request_timeout: float) -> dict[Any, Any]:
        """See AdminClient."""
        assert request_timeout > 0
        told: Future[Any] = Future()
        if isinstance(self._answer, KafkaException):
            told.set_exception(self._answer)
        else:
            told.set_result(self._answer)
        return dict.fromkeys(asked, told)


def refused(code: int) -> KafkaException:
    """What a client is told that may not ask, or is not answered."""
    return KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    ("answer", "protocol"),
    [
        ({}, "classic"),
        ({PROTOCOLS_PROPERTY: SimpleNamespace(value="classic")}, "classic"),
        ({PROTOCOLS_PROPERTY: SimpleNamespace(value="classic,consumer")}, "consumer"),
        (refused(KafkaError.CLUSTER_AUTHORIZATION_FAILED), "classic"),
    ],
    ids=["knows-no-such", "classic", "both", "may-not-ask"],
)
async def test_a_broker_that_does_not_tell_is_taken_for_an_old_one(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | KafkaException, protocol: str
) -> None:
    """The classic protocol is spoken by all of them."""
    monkeypatch.setattr(Admin, "open", lambda _: Answering(answer))
    assert await Topics(settings_for("nobody:9092")).group_protocol() == protocol


async def test_a_broker_that_does_not_answer_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage is waited for: members of one group must not speak two protocols."""
    unanswered = refused(KafkaError._TIMED_OUT)
    monkeypatch.setattr(Admin, "open", lambda _: Answering(unanswered))
    with pytest.raises(TransientError):
        await Topics(settings_for("nobody:9092")).group_protocol()

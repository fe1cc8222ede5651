"""What a topic keeps longer than outbox and inbox were told is refused before anything is read."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.kafka.reading import name_of

from waybill.messaging.adapters.kafka.admin import Admin
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from waybill.messaging.adapters.kafka.settings import KafkaSettings

WEEK_MILLISECONDS = 7 * 86_400_000


def made(settings: KafkaSettings, **configuration: object) -> str:
    """A topic that somebody else has made, with this configuration."""
    name = name_of("theirs")
    named = {key.replace("_", "."): str(value) for key, value in configuration.items()}
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    topic = NewTopic(name, num_partitions=settings.partitions, config=named)
    admin.create_topics([topic])[name].result(30)
    return name


async def test_a_topic_that_keeps_records_longer_than_we_were_told_is_refused(
    settings: KafkaSettings,
) -> None:
    """P2, P3: outbox and inbox would forget them first. Told so, it is taken."""
    name = made(settings, retention_ms=WEEK_MILLISECONDS + 1)
    wanted = rf"{name} keeps .*=604800001\).*KAFKA_RETENTION_SECONDS to at least 604801 in every"
    with pytest.raises(ConfigurationError, match=wanted):
        await Topics(settings).prepare([name])
    await Topics(replace(settings, retention_seconds=604_801)).prepare([name])


async def test_a_topic_that_keeps_records_for_ever_is_refused(settings: KafkaSettings) -> None:
    """P3: no inbox is longer than that, whatever we were told."""
    name = made(settings, retention_ms=-1)
    for each in (settings, replace(settings, retention_seconds=1e9)):
        with pytest.raises(ConfigurationError, match=rf"{name} keeps records for ever.*at most"):
            await Topics(each).prepare([name])


async def test_a_compacted_topic_is_refused(settings: KafkaSettings) -> None:
    """P2: it drops events of an order that nobody has read yet."""
    name = made(settings, cleanup_policy="compact,delete")
    with pytest.raises(ConfigurationError, match=rf"{name} is compacted"):
        await Topics(settings).prepare([name])


class Asking:
    """A client that counts the requests for a configuration, and may answer them itself."""

    def __init__(self, client: AdminClient, *, allowed: bool) -> None:
        self._client = client
        self._allowed = allowed
        self.asked: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has
        return getattr(self._client, name)

    def describe_configs(self, resources: list[Any], **more: Any) -> dict[Any, Future[Any]]:  # noqa: ANN401 - the client's own types
        """See AdminClient."""
        self.asked.append([resource.name for resource in resources])
        if self._allowed:
            return self._client.describe_configs(resources, **more)
        refused: Future[Any] = Future()
        refused.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
        return dict.fromkeys(resources, refused)


@pytest.fixture
def asking(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> Asking:
    """The client of all Topics of this test; `_allowed` may be taken away."""
    client = Asking(AdminClient({"bootstrap.servers": settings.brokers}), allowed=True)
    monkeypatch.setattr(Admin, "open", lambda _: client)
    return client


async def test_all_topics_are_asked_for_at_once_and_once(
    settings: KafkaSettings, asking: Asking
) -> None:
    """A start with thirty topics makes one request; what we have made ourselves is known."""
    theirs = sorted([made(settings), made(settings, retention_ms=WEEK_MILLISECONDS)])
    ours, topics = name_of("ours"), Topics(settings)
    await topics.prepare([*theirs, ours])
    await topics.prepare([*theirs, ours])
    assert asking.asked == [theirs]


async def test_who_may_not_ask_is_warned_and_goes_on(
    settings: KafkaSettings, asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """A right that was never needed stops nobody."""
    asking._allowed = False
    name = made(settings)
    await Topics(settings).prepare([name])
    assert f"does not tell this client how long {name} keep" in caplog.text

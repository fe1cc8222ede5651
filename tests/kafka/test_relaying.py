"""A service on Kafka: what it publishes is on its topics, in order, whatever the broker does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.kafka.broker import running_broker
from tests.kafka.reading import name_of, read, settings_for
from tests.messaging.postgres.relay_world import until

from waybill.messaging import EventType, JsonCodec, MessagingService
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.postgres import relay_status
from waybill.messaging.runtime import relay_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kafka.broker import OtherBroker


NEVER_SECONDS = 3_600.0


class Sent(msgspec.Struct, frozen=True):
    """An event."""

    number: int


@asynccontextmanager
async def service(url: str, bootstrap: str, topic: str) -> AsyncIterator[MessagingService]:
    """A running one that publishes to the topic."""
    made = MessagingService(
        "parcels",
        url=url,
        codec=JsonCodec([EventType(Sent, topic=topic, name="Sent")]),
        kafka=settings_for(bootstrap),
        publishes=[topic],
    )
    async with made:
        yield made


async def publish(made: MessagingService, first: int, count: int) -> None:
    """Numbered events of ten keys, in one commit."""
    async with made.unit() as unit:
        for number in range(first, first + count):
            unit.publish(Sent(number), key=f"k{number % 10}")


async def is_sent(made: MessagingService) -> bool:
    """Whether the relay has passed everything."""
    return (await relay_status.look(made.ports.database)).lag == 0


async def numbers_by_key(bootstrap: str, topic: str, count: int) -> dict[str, list[int]]:
    """What the topic has, first arrivals only."""
    found: dict[str, dict[int, None]] = {}
    for each in await read(bootstrap, topic, count):
        number = msgspec.json.decode(each.value)["number"]
        found.setdefault(each.key, {}).setdefault(number)
    return {key: list(numbers) for key, numbers in sorted(found.items())}


async def test_what_a_service_publishes_is_on_its_topic(
    messaging_database: str, kafka: OtherBroker
) -> None:
    """R130: by the doorbell and by the page, in the order of each key, over two lives."""
    topic = name_of("parcels")
    async with service(messaging_database, kafka.bootstrap, topic) as made:
        await publish(made, 0, 500)
        for turn in range(20):
            await publish(made, 500 + turn * 5, 5)
    async with service(messaging_database, kafka.bootstrap, topic) as made:
        await until(lambda: is_sent(made))
    expected = {f"k{n}": list(range(n, 600, 10)) for n in range(10)}
    assert await numbers_by_key(kafka.bootstrap, topic, 600) == expected
    settings = settings_for(kafka.bootstrap)
    ((_, partitions),) = (await Topics(settings).describe([topic])).values()
    assert partitions == 6


@pytest.mark.long
async def test_a_broker_that_is_away_stops_nobody(
    messaging_database: str, session_directory: Path
) -> None:
    """Protocol I5, L2: a start without a broker, commits meanwhile, a SIGKILL amid the records."""
    topic = name_of("parcels")
    with running_broker(session_directory / name_of("away"), up=False) as broker:
        async with service(messaging_database, broker.bootstrap, topic) as made:
            await publish(made, 0, 500)
            await asyncio.sleep(1.5)
            (age,) = [a for n, a in made.supervisor.ages_seconds().items() if n.endswith("relay")]
            assert age < 5
            assert not made.supervisor.halted
            await asyncio.to_thread(broker.start)
            await until(lambda: is_sent(made))
            await asyncio.to_thread(broker.kill)
            await publish(made, 500, 500)
            await asyncio.to_thread(broker.start)
            await until(lambda: is_sent(made))
            expected = {f"k{n}": list(range(n, 1000, 10)) for n in range(10)}
            assert await numbers_by_key(broker.bootstrap, topic, 1000) == expected


async def test_a_lone_record_after_a_pause_is_acknowledged_at_once(
    messaging_database: str, kafka: OtherBroker
) -> None:
    """R2: nothing on the way from COMMIT to the acknowledgement waits for a timer."""
    topic = name_of("parcels")
    async with service(messaging_database, kafka.bootstrap, topic) as made:
        assert made.relay is not None
        figures = made.relay.figures
        await publish(made, 0, 1)
        await until(lambda: figures.sent == 1)
        await asyncio.sleep(1.3)  # the writer's own pace has slowed down by then
        async with asyncio.timeout(0.7):
            await publish(made, 1, 1)
            await until(lambda: figures.sent == 2)


async def test_two_instances_tell_each_other_of_their_commits(
    messaging_database: str, kafka: OtherBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol D7, L3: a commit in a lane that another process owns does not wait for its poll."""
    monkeypatch.setattr(relay_settings, "POLL_SECONDS_MAX", NEVER_SECONDS)
    topic = name_of("parcels")
    async with (
        service(messaging_database, kafka.bootstrap, topic) as first,
        service(messaging_database, kafka.bootstrap, topic) as second,
    ):
        relays = [made.relay for made in (first, second) if made.relay is not None]
        await until(lambda: sorted(relay.figures.lanes for relay in relays) == [8, 9])
        for relay in relays:
            relay._settings = replace(relay._settings, poll_seconds=NEVER_SECONDS)
        for turn in range(5):
            await publish(first, 10 * turn, 10)
            await until(lambda: sum(r.figures.sent for r in relays) >= 10 + 10 * turn)  # noqa: B023
        assert all(relay.figures.sent for relay in relays)
        assert first.relay is not None
        assert not first.relay.owns_all

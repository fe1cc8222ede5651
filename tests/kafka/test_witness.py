"""The monitor of change data capture: acknowledges what stands in the topics (protocol L6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.kafka.reading import name_of

from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.witness import KafkaWitness
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.message import Record
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

LATER_SECONDS = 0.5


@pytest.fixture
async def witness(settings: KafkaSettings) -> AsyncIterator[KafkaWitness]:
    """One that looks again soon, and remembers next to nothing."""
    made = KafkaWitness(settings, look_again_seconds=LATER_SECONDS, remembered_max=2)
    yield made
    await made.close()


def records(topic: str, count: int, *, hours_ago: float = 0.0) -> list[Record]:
    """A run of one lane."""
    made_at = datetime.now(UTC) - timedelta(hours=hours_ago)  # noqa: TID251 - Kafka's clock is the machine's
    messages = [a_message(f"k{number}", topic=topic) for number in range(count)]
    return [
        Record("parcels", 3, seq, msgspec.structs.replace(message, occurred_at=made_at))
        for seq, message in enumerate(messages, start=1)
    ]


async def publish(settings: KafkaSettings, run: list[Record]) -> None:
    """What a connector does."""
    writer = KafkaLogWriter(settings)
    assert (await writer.write(run)).error is None
    await writer.close()


async def test_a_run_is_acknowledged_once_all_of_it_is_there(
    settings: KafkaSettings, topic: str, witness: KafkaWitness
) -> None:
    """Not before: half of it, or records of others, move nothing."""
    run = records(topic, 20)
    writing = asyncio.create_task(witness.write(run))
    await publish(settings, [*records(topic, 5), *run[:19]])
    await asyncio.wait([writing], timeout=LATER_SECONDS)
    assert not writing.done()
    await publish(settings, run[19:])
    written = await asyncio.wait_for(writing, 20)
    assert (written.acknowledged, written.error) == (20, None)


async def test_what_was_published_before_it_looked_is_found(
    settings: KafkaSettings, topic: str, witness: KafkaWitness
) -> None:
    """Also after a restart, of messages that are older than what was awaited first."""
    young, old = records(topic, 3), records(topic, 8, hours_ago=2)
    await publish(settings, [*old, *young])
    for run in (young, old):
        written = await asyncio.wait_for(witness.write(run), 20)
        assert (written.acknowledged, written.error) == (len(run), None)


async def test_a_message_from_the_future_is_found(
    settings: KafkaSettings, topic: str, witness: KafkaWitness
) -> None:
    """Clocks differ: it looks further back until it has what was published long before."""
    run = records(topic, 3, hours_ago=-0.5)
    await publish(settings, run)
    assert (await asyncio.wait_for(witness.write(run), 30)).acknowledged == 3


async def test_what_it_passed_and_forgot_is_found_again(
    settings: KafkaSettings, topic: str, witness: KafkaWitness
) -> None:
    """A connector may be ahead of those who ask, by more than is remembered."""
    early, late = records(topic, 40), records(topic, 1)
    await publish(settings, [*early, *late])
    assert (await asyncio.wait_for(witness.write(late), 20)).error is None
    assert (await asyncio.wait_for(witness.write(early), 20)).acknowledged == 40


async def test_a_purge_ends_what_waits(
    settings: KafkaSettings, topic: str, witness: KafkaWitness
) -> None:
    """With how many from the start were seen, so that the position stops there (protocol L3)."""
    run = records(topic, 4)
    seen = records(topic, 1)
    await publish(settings, [*run[:2], run[3]])
    writing = asyncio.create_task(witness.write(run))
    await publish(settings, seen)
    await asyncio.wait_for(witness.write(seen), 20)
    await witness.purge()
    written = await writing
    assert written.acknowledged == 2
    assert isinstance(written.error, TransientError)


async def test_a_missing_topic_is_waited_for(
    settings: KafkaSettings, witness: KafkaWitness
) -> None:
    """It is an outage, not an end."""
    topic = name_of("missing")
    run = records(topic, 2)
    writing = asyncio.create_task(witness.write(run))
    await asyncio.wait([writing], timeout=LATER_SECONDS)
    await Topics(settings).prepare([topic])
    await publish(settings, run)
    assert (await asyncio.wait_for(writing, 30)).error is None


async def test_it_knows_the_log_by_the_same_name_as_the_writer(
    settings: KafkaSettings, witness: KafkaWitness
) -> None:
    """The mode can be changed without a rewind (protocol L1)."""
    writer = KafkaLogWriter(settings)
    assert await witness.identity() == await writer.identity()
    await writer.close()

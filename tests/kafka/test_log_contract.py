"""Kafka keeps the contracts of Log and LogWriter, with members that share the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.kafka.group_world import RelayedDatabase, RelayedOutbox, fresh_topics
from tests.kafka.reading import name_of, read

from waybill.messaging.adapters.kafka.log import KafkaLog
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.adapters.memory import MemoryDatabase
from waybill.messaging.adapters.memory.partition_positions import MemoryPartitionPositions
from waybill.messaging.testing.contracts.log import (
    CONSUMER,
    OTHER_TOPIC,
    TOPIC,
    LogContract,
    commit,
    next_records,
    publish,
    read_all,
    subscribed,
)
from waybill.messaging.testing.contracts.log_writer import LogWriterContract
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Database, Log, Outbox
    from waybill.messaging.testing.contracts.log_writer import LogReader


@pytest.fixture
async def writer(settings: KafkaSettings) -> AsyncIterator[KafkaLogWriter]:
    """Closed at the end."""
    opened = KafkaLogWriter(settings)
    yield opened
    await opened.close()


class TestKafkaLog(LogContract):
    lane_count = 6

    @pytest.fixture(autouse=True)
    async def topics(self, settings: KafkaSettings) -> None:
        """New ones of the same names: of a log of the last test nothing counts any more."""
        await fresh_topics(settings, [TOPIC, OTHER_TOPIC])

    @pytest.fixture
    def producing(self, writer: KafkaLogWriter) -> RelayedDatabase:
        return RelayedDatabase(writer)

    @pytest.fixture
    def outbox(self) -> RelayedOutbox:
        return RelayedOutbox()

    @pytest.fixture
    def consuming(self) -> MemoryDatabase:
        return MemoryDatabase()

    @pytest.fixture
    def make_log(
        self, settings: KafkaSettings, consuming: MemoryDatabase
    ) -> Callable[[], KafkaLog]:
        positions = MemoryPartitionPositions(consuming)
        return lambda: KafkaLog(settings, positions)

    async def test_positions_move_over_other_topics(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol D2: a partition holds one topic, so what nobody wants is never even read."""
        await publish(producing, outbox, [a_message("a", topic=OTHER_TOPIC), a_message("a")])
        async with subscribed(make_log()) as subscription:
            (record,) = await read_all(subscription, consuming, 1)
        assert record.source == TOPIC

    async def test_stand_by_takes_over_at_once_after_close(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Members share the partitions; one that leaves hands over what it read, no more."""
        first = await make_log().subscribe(CONSUMER, [TOPIC])
        second = await make_log().subscribe(CONSUMER, [TOPIC])
        sent = [a_message(f"key-{n}") for n in range(60)]
        await publish(producing, outbox, sent)
        seen: set[object] = set()
        shares: dict[str, int] = {"first": 0, "second": 0}
        async with asyncio.timeout(30.0):
            while len(seen) < 60:
                for name, member in (("first", first), ("second", second)):
                    batch = await member.fetch(5)
                    if batch.records:
                        await commit(member, consuming, batch)
                        shares[name] += len(batch.records)
                        seen |= {record.message.id for record in batch.records}
        await first.close()
        late = a_message("key-0")
        await publish(producing, outbox, [late])
        async with asyncio.timeout(10.0):
            batch = await next_records(second)
        await second.close()
        assert [record.message.id for record in batch.records] == [late.id]
        assert sum(shares.values()) == 60


class TestKafkaLogWriter(LogWriterContract):
    @pytest.fixture
    async def topic(self, settings: KafkaSettings) -> str:
        return await _made(settings)

    @pytest.fixture
    async def other_topic(self, settings: KafkaSettings) -> str:
        return await _made(settings)

    @pytest.fixture
    def value_bytes_too_many(self, settings: KafkaSettings) -> int:
        return settings.record_bytes_max + 1

    @pytest.fixture
    def read_log(self, settings: KafkaSettings) -> LogReader:
        async def messages(topic: str, count: int) -> Sequence[Message]:
            found = await read(settings.brokers, topic, count)
            return [each.record.message for each in found]

        return messages


async def _made(settings: KafkaSettings) -> str:
    name = name_of("parcels")
    await Topics(settings).prepare([name])
    return name

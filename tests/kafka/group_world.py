"""Producing to Kafka as a relay does, and members of a group over one consumer's database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.memory import MemoryDatabase
from waybill.messaging.core.message import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
    from waybill.messaging.adapters.memory import MemoryTransaction
    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Transaction


class RelayedDatabase(MemoryDatabase):
    """What its transactions appended to a RelayedOutbox is in Kafka once they have committed."""

    def __init__(self, writer: KafkaLogWriter) -> None:
        super().__init__()
        self._writer = writer

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        """See Database."""
        appended: list[Message] = []
        async with super().transaction() as transaction:
            yield transaction
            appended += transaction.buffer(_forget)
        if appended:
            written = await self._writer.write(
                [Record("parcels", 0, n, each) for n, each in enumerate(appended)]
            )
            assert written.error is None


class RelayedOutbox:
    """Implements Outbox over a RelayedDatabase."""

    def append(self, transaction: Transaction, messages: Iterable[Message]) -> None:
        """See Outbox.append."""
        transaction.buffer(_forget).extend(messages)


async def _forget(_: Transaction, __: Sequence[Message]) -> None:
    """The writer has them."""


async def fresh_topics(settings: KafkaSettings, names: Sequence[str]) -> None:
    """Topics of these names with nothing in them, whatever was there."""
    client = AdminClient({"bootstrap.servers": settings.brokers})
    topics = Topics(settings)
    old = await topics.describe(names)
    if old:
        for future in client.delete_topics(list(old), operation_timeout=10).values():
            future.result(10)
    while await topics.describe(names):
        pass
    await topics.prepare(names)

"""Where a consumer has read each partition of a log, in memory (protocol C15)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.adapters.memory.database import in_memory
from waybill.messaging.adapters.memory.inbox import MemoryInbox
from waybill.messaging.core.errors import ClaimRefusedError, LeaseLostError
from waybill.messaging.core.ports import PartitionPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.messaging.adapters.memory.database import MemoryDatabase
    from waybill.messaging.core.ports import Transaction

CONSUMER_PARTITION = "consumer_partition"


class _Row(msgspec.Struct, frozen=True):
    token: UUID
    position: PartitionPosition | None = None


class MemoryPartitionPositions:
    """Implements `PartitionPositions` over a MemoryDatabase."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._read: dict[str, set[tuple[str, int]]] = {}

    async def take(
        self, consumer: str, token: UUID, partitions: Sequence[tuple[str, int]]
    ) -> Mapping[tuple[str, int], PartitionPosition]:
        """See PartitionPositions.take."""
        found = {}
        async with self._database.transaction() as transaction:
            for place in sorted(partitions):
                key = (consumer, *place)
                await transaction.lock(CONSUMER_PARTITION, key)
                row: _Row | None = transaction.get(CONSUMER_PARTITION, key)
                position = row.position if row else None
                await transaction.put(CONSUMER_PARTITION, key, _Row(token, position))
                self._read.setdefault(consumer, set()).add(place)
                if position is not None:
                    found[place] = position
        return found

    async def lock(self, transaction: Transaction, consumer: str, token: UUID) -> None:
        """See PartitionPositions.lock."""
        memory = in_memory(transaction)
        for place in sorted(self._read.get(consumer, ())):
            row: _Row | None = memory.get(CONSUMER_PARTITION, (consumer, *place))
            if row is not None and row.token == token:
                await memory.lock(CONSUMER_PARTITION, (consumer, *place))

    async def record(
        self,
        transaction: Transaction,
        consumer: str,
        token: UUID,
        positions: Mapping[tuple[str, int], PartitionPosition],
        message_ids: Sequence[UUID],
    ) -> set[UUID]:
        """See PartitionPositions.record."""
        memory = in_memory(transaction)
        for place, position in sorted(positions.items()):
            key = (consumer, *place)
            await memory.lock(CONSUMER_PARTITION, key)
            row: _Row | None = memory.get(CONSUMER_PARTITION, key)
            if row is None or row.token != token:
                raise LeaseLostError(f"another member reads partitions of {consumer} now")
            await memory.put(CONSUMER_PARTITION, key, _Row(token, position))
        return await MemoryInbox().claim(transaction, consumer, message_ids)

    async def record_ahead(
        self,
        transaction: Transaction,
        consumer: str,
        token: UUID,
        positions: Mapping[tuple[str, int], PartitionPosition],
        message_ids: Sequence[UUID],
        *,
        then: Callable[[], None],
    ) -> None:
        """See PartitionPositions.record_ahead."""
        claimed = await self.record(transaction, consumer, token, positions, message_ids)
        if len(claimed) < len(message_ids):
            raise ClaimRefusedError("a message was applied before")
        then()

    async def stored(self, consumer: str) -> Mapping[tuple[str, int], PartitionPosition]:
        """See PartitionPositions.stored."""
        found = {}
        async with self._database.transaction() as transaction:
            for place in self._read.get(consumer, ()):
                row: _Row | None = transaction.get(CONSUMER_PARTITION, (consumer, *place))
                if row is not None and row.position is not None:
                    found[place] = row.position
        return found

"""Where a consumer has read each partition of a log, on MariaDB and MySQL (protocol C15).

A partition's row carries its owner's token: a member that was paused past its session, and wakes
up, finds another token there and can change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.inbox import claim
from waybill.messaging.core.errors import ClaimRefusedError, LeaseLostError
from waybill.messaging.core.ports import PartitionPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction

_TAKE = """
INSERT INTO messaging_consumer_partition (consumer, topic, `partition`, token) VALUES $1
ON DUPLICATE KEY UPDATE token = $2, taken_at = NOW(6)
"""
_OWN = """
SELECT topic, `partition`, log, position FROM messaging_consumer_partition
WHERE consumer = $1 AND token = $2 ORDER BY topic, `partition` FOR UPDATE
"""
_MOVE = """
UPDATE messaging_consumer_partition SET log = $5, position = $6, updated_at = NOW(6)
WHERE consumer = $1 AND topic = $2 AND `partition` = $3 AND token = $4
"""
_STORED = """
SELECT topic, `partition`, log, position FROM messaging_consumer_partition
WHERE consumer = $1 AND position IS NOT NULL
"""


class MysqlPartitionPositions:
    """See core.ports.PartitionPositions. Inside a unit it speaks to the Transaction port only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(
        self, consumer: str, token: UUID, partitions: Sequence[tuple[str, int]]
    ) -> Mapping[tuple[str, int], PartitionPosition]:
        """See PartitionPositions.take."""
        wanted = set(partitions)
        if not wanted:
            return {}
        async with self._database.transaction() as transaction:
            rows = [(consumer, topic, partition, token) for topic, partition in sorted(wanted)]
            await transaction.execute(_TAKE, rows, token)
            found = _positions(await transaction.fetch(_OWN, consumer, token))
        return {place: each for place, each in found.items() if place in wanted}

    async def lock(self, transaction: Transaction, consumer: str, token: UUID) -> None:
        """See PartitionPositions.lock."""
        await transaction.fetch(_OWN, consumer, token)

    async def record(
        self,
        transaction: Transaction,
        consumer: str,
        token: UUID,
        positions: Mapping[tuple[str, int], PartitionPosition],
        message_ids: Sequence[UUID],
    ) -> set[UUID]:
        """See PartitionPositions.record. Fences first and in order (protocol C3)."""
        rows = await transaction.fetch(_OWN, consumer, token)
        own = {(row["topic"], row["partition"]) for row in rows}
        if not own.issuperset(positions):
            raise LeaseLostError(f"another member reads partitions of {consumer} now")
        for (topic, partition), each in sorted(positions.items()):
            await transaction.execute(
                _MOVE, consumer, topic, partition, token, each.log, each.offset
            )
        return await claim(transaction, consumer, message_ids)

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
        return _positions(await self._database.fetch(_STORED, consumer))


def _positions(rows: Sequence[Row]) -> dict[tuple[str, int], PartitionPosition]:
    return {
        (row["topic"], row["partition"]): PartitionPosition(row["log"], row["position"])
        for row in rows
        if row["position"] is not None
    }

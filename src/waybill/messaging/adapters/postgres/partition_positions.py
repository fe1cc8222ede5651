"""Where a consumer has read each partition of a log, on PostgreSQL (protocol C15).

A partition's row carries its owner's token: a member that was paused past its session, and wakes
up, finds another token there and can change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.inbox import CLAIMED, IDS, REQUIRE, claim_from
from waybill.messaging.core.errors import LeaseLostError
from waybill.messaging.core.ports import PartitionPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction

_TAKE = """
INSERT INTO messaging.consumer_partition AS own (consumer, topic, partition, token)
SELECT $1, n.topic, n.partition, $2
FROM unnest($3::text[], $4::integer[]) AS n (topic, partition)
ORDER BY n.topic, n.partition
ON CONFLICT (consumer, topic, partition)
DO UPDATE SET token = excluded.token, taken_at = clock_timestamp()
RETURNING topic, partition, log, position
"""
_LOCK = """
SELECT 1 FROM messaging.consumer_partition
WHERE consumer = $1 AND token = $2 ORDER BY topic, partition FOR UPDATE
"""
# As positions.py does it for outboxes: fence first and in order (protocol C3), then the inbox.
_MOVE = f"""
WITH own AS (
    SELECT c.topic, c.partition, n.log, n.position
    FROM messaging.consumer_partition AS c
    JOIN unnest($4::text[], $5::integer[], $6::text[], $7::bigint[])
        AS n (topic, partition, log, position)
      ON c.topic = n.topic AND c.partition = n.partition
    WHERE c.consumer = $1 AND c.token = $3
    ORDER BY c.topic, c.partition FOR UPDATE OF c
), moved AS (
    UPDATE messaging.consumer_partition AS c
    SET log = own.log, position = own.position, updated_at = clock_timestamp()
    FROM own
    WHERE c.consumer = $1 AND c.topic = own.topic AND c.partition = own.partition
    RETURNING c.partition
), fence AS (
    SELECT count(*) = cardinality($4::text[]) AS holds FROM moved
), claimed AS (
    {claim_from(f"fence JOIN {IDS} ON fence.holds")}
)
"""  # noqa: S608 - constants
_RECORD = f"{_MOVE}{CLAIMED}"
_RECORD_ALL = f"{_MOVE}{REQUIRE}"
_STORED = """
SELECT topic, partition, log, position FROM messaging.consumer_partition
WHERE consumer = $1 AND position IS NOT NULL
"""


class PostgresPartitionPositions:
    """See core.ports.PartitionPositions. Inside a unit it speaks to the Transaction port only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(
        self, consumer: str, token: UUID, partitions: Sequence[tuple[str, int]]
    ) -> Mapping[tuple[str, int], PartitionPosition]:
        """See PartitionPositions.take."""
        topics, numbers = _columns(partitions)
        return _positions(await self._database.fetch(_TAKE, consumer, token, topics, numbers))

    async def lock(self, transaction: Transaction, consumer: str, token: UUID) -> None:
        """See PartitionPositions.lock."""
        await transaction.fetch(_LOCK, consumer, token)

    async def record(
        self,
        transaction: Transaction,
        consumer: str,
        token: UUID,
        positions: Mapping[tuple[str, int], PartitionPosition],
        message_ids: Sequence[UUID],
    ) -> set[UUID]:
        """See PartitionPositions.record."""
        arguments = _recorded(consumer, token, positions, message_ids)
        (row,) = await transaction.fetch(_RECORD, *arguments)
        if not row["holds"]:
            raise LeaseLostError(f"another member reads partitions of {consumer} now")
        return set(row["claimed"])

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
        arguments = _recorded(consumer, token, positions, message_ids)
        await transaction.execute_ahead(_RECORD_ALL, *arguments, then=then)

    async def stored(self, consumer: str) -> Mapping[tuple[str, int], PartitionPosition]:
        """See PartitionPositions.stored."""
        return _positions(await self._database.fetch(_STORED, consumer))


def _columns(
    partitions: Sequence[tuple[str, int]] | Mapping[tuple[str, int], object],
) -> tuple[list[str], list[int]]:
    return [topic for topic, _ in partitions], [partition for _, partition in partitions]


def _recorded(
    consumer: str,
    token: UUID,
    positions: Mapping[tuple[str, int], PartitionPosition],
    message_ids: Sequence[UUID],
) -> tuple[object, ...]:
    topics, numbers = _columns(positions)
    return (
        *(consumer, sorted(message_ids), token, topics, numbers),
        [each.log for each in positions.values()],
        [each.offset for each in positions.values()],
    )


def _positions(rows: Sequence[Row]) -> dict[tuple[str, int], PartitionPosition]:
    return {
        (row["topic"], row["partition"]): PartitionPosition(row["log"], row["position"])
        for row in rows
        if row["position"] is not None
    }

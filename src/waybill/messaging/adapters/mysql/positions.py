"""A consumer's rows in its own database: who reads, and how far each source was read.

Rule D1: every write that moves a position is guarded by the lease token, so a member that was
taken over can change nothing, however late it wakes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.arrays import encoded, ids, numbers, texts
from waybill.messaging.adapters.mysql.inbox import claim
from waybill.messaging.adapters.mysql.literals import seconds
from waybill.messaging.core.errors import ClaimRefusedError, LeaseLostError
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.reading.ports import Begin, Lanes, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction

_KNOWN = """
SELECT source FROM messaging_consumer_source WHERE consumer = $1 AND source IN ($2)
"""
ENSURE = """
INSERT INTO messaging_consumer_source (consumer, source, topics) VALUES $1
ON DUPLICATE KEY UPDATE source = source
"""
_FREE = """
SELECT source FROM messaging_consumer_source
WHERE consumer = $1 AND source IN ($2) AND (lease_token IS NULL OR lease_until <= NOW(6))
ORDER BY source FOR UPDATE SKIP LOCKED
"""
_TAKE = """
UPDATE messaging_consumer_source
SET lease_token = $3, lease_until = NOW(6) + INTERVAL $4 SECOND
WHERE consumer = $1 AND source IN ($2)
"""
_LOAD = """
SELECT source, positions, last_ids, start, topics, system_identifier, timeline
FROM messaging_consumer_source WHERE consumer = $1 AND lease_token = $2 ORDER BY source
"""
_LOCK = """
SELECT source FROM messaging_consumer_source
WHERE consumer = $1 AND lease_token = $2 ORDER BY source FOR UPDATE
"""
_MOVE = """
UPDATE messaging_consumer_source SET positions = $4, last_ids = $5, updated_at = NOW(6)
WHERE consumer = $1 AND lease_token = $2 AND source = $3
"""
_BEGIN = """
UPDATE messaging_consumer_source
SET positions = $4, last_ids = $5, start = $4, topics = $6, system_identifier = $7,
    timeline = $8, horizon = $9, horizon_at = $10, updated_at = NOW(6)
WHERE consumer = $1 AND source = $2 AND lease_token = $3
"""
_CONTINUE = """
UPDATE messaging_consumer_source SET topics = $4, horizon = $5, horizon_at = $6
WHERE consumer = $1 AND source = $2 AND lease_token = $3
"""
_RENEW = """
UPDATE messaging_consumer_source SET lease_until = NOW(6) + INTERVAL $3 SECOND
WHERE consumer = $1 AND lease_token = $2
"""
_RELEASE = """
UPDATE messaging_consumer_source SET lease_token = NULL, lease_until = NULL
WHERE consumer = $1 AND lease_token = $2
"""


class MysqlPositionStore:
    """See reading.ports.PositionStore. For one consumer and its sources."""

    def __init__(self, database: Database, consumer: str, sources: Sequence[str]) -> None:
        self.database = database
        self._consumer = consumer
        self._sources = sorted(sources)

    async def acquire(self, token: UUID, lease_seconds: float) -> bool:
        """See PositionStore.acquire. Inserts only what is missing: an insert would wait."""
        consumer, sources = self._consumer, self._sources
        known = {row[0] for row in await self.database.fetch(_KNOWN, consumer, sources)}
        missing = [(consumer, source, "[]") for source in sources if source not in known]
        if missing:
            await self.database.fetch(ENSURE, missing)
        async with self.database.transaction() as transaction:
            free = await transaction.fetch(_FREE, consumer, sources)
            if len(free) < len(sources):
                return False
            await transaction.execute(_TAKE, consumer, sources, token, seconds(lease_seconds))
            return True

    async def load(self, token: UUID) -> dict[str, Stored] | None:
        """See PositionStore.load."""
        rows = await self.database.fetch(_LOAD, self._consumer, token)
        stored = {row["source"]: _stored(row) for row in rows}
        return stored if self._sources == sorted(stored) else None

    async def renew(self, token: UUID, lease_seconds: float) -> bool:
        """See PositionStore.renew."""
        async with self.database.transaction() as transaction:
            count = await transaction.execute(_RENEW, self._consumer, token, seconds(lease_seconds))
        return count == len(self._sources)

    async def release(self, token: UUID) -> None:
        """See PositionStore.release."""
        await self.database.fetch(_RELEASE, self._consumer, token)

    async def begin(self, source: str, token: UUID, begin: Begin, topics: Sequence[str]) -> None:
        """See PositionStore.begin."""
        async with self.database.transaction() as transaction:
            touched = await transaction.execute(
                _BEGIN,
                self._consumer,
                source,
                token,
                encoded(begin.positions),
                encoded([None] * ALL_LANES),
                encoded(sorted(topics)),
                begin.system_identifier,
                begin.timeline,
                begin.horizon,
                begin.horizon_at,
            )
            if touched == 0:
                raise LeaseLostError(f"another member of {self._consumer} reads {source} now")

    async def note(
        self, source: str, token: UUID, topics: Sequence[str], horizon: int, horizon_at: datetime
    ) -> None:
        """See PositionStore.note."""
        known = encoded(sorted(topics))
        await self.database.fetch(
            _CONTINUE, self._consumer, source, token, known, horizon, horizon_at
        )

    async def lock(self, transaction: Transaction, token: UUID) -> None:
        """See PositionStore.lock."""
        rows = await transaction.fetch(_LOCK, self._consumer, token)
        if len(rows) != len(self._sources):
            raise LeaseLostError(f"another member reads for {self._consumer} now")

    async def record(
        self,
        transaction: Transaction,
        token: UUID,
        lanes: Mapping[str, Lanes],
        message_ids: Sequence[UUID],
        *,
        move: bool,
    ) -> set[UUID]:
        """See PositionStore.record. The lock comes first and in order (protocol C3, D1)."""
        rows = await transaction.fetch(_LOCK, self._consumer, token)
        if not {row[0] for row in rows}.issuperset(lanes):
            raise LeaseLostError(f"another member reads for {self._consumer} now")
        for source, moved in sorted(lanes.items()) if move else ():
            places = encoded(moved.positions), encoded(moved.last_ids)
            await transaction.execute(_MOVE, self._consumer, token, source, *places)
        return await claim(transaction, self._consumer, message_ids)

    async def record_ahead(
        self,
        transaction: Transaction,
        token: UUID,
        lanes: Mapping[str, Lanes],
        message_ids: Sequence[UUID],
        then: Callable[[], None],
        *,
        move: bool,
    ) -> None:
        """See PositionStore.record_ahead. Nothing rides in front of a statement here: at once."""
        try:
            claimed = await self.record(transaction, token, lanes, message_ids, move=move)
        except LeaseLostError as error:
            raise ClaimRefusedError(str(error)) from error
        if len(claimed) < len(message_ids):
            raise ClaimRefusedError("a message was applied before")
        then()


def _stored(row: Row) -> Stored:
    positions, last_ids, start = row["positions"], row["last_ids"], row["start"]
    return Stored(
        positions=None if positions is None else numbers(positions),
        last_ids=(None,) * ALL_LANES if last_ids is None else ids(last_ids),
        start=None if start is None else numbers(start),
        topics=frozenset(texts(row["topics"])),
        system_identifier=row["system_identifier"],
        timeline=row["timeline"],
    )

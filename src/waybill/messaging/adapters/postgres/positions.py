"""A consumer's rows in its own database: who reads, and how far each source was read.

Rule D1: every write that moves a position is guarded by the lease token, so a member that was
taken over can change nothing, however late it wakes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.inbox import CLAIMED, IDS, REQUIRE, claim_from
from waybill.messaging.core.errors import LeaseLostError
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.reading.ports import Begin, Lanes, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction


# A server that restarted after the holder's last renewal has no session of it left: its lease is
# void at once, so that a start after a power cut does not wait for it. The token fences anyway.
_FREE = """
SELECT source FROM messaging.consumer_source
WHERE consumer = $1 AND source = ANY($2::text[])
  AND (lease_token IS NULL OR lease_until <= clock_timestamp()
       OR lease_until - make_interval(secs => $3) < pg_postmaster_start_time())
ORDER BY source FOR UPDATE SKIP LOCKED
"""
_TAKE = """
UPDATE messaging.consumer_source
SET lease_token = $3, lease_until = clock_timestamp() + make_interval(secs => $4)
WHERE consumer = $1 AND source = ANY($2::text[])
"""
_ENSURE = """
INSERT INTO messaging.consumer_source (consumer, source)
SELECT $1, source FROM unnest($2::text[]) AS source ORDER BY source
ON CONFLICT (consumer, source) DO NOTHING
"""
_COLUMNS = "source, positions, last_ids, start, topics, system_identifier, timeline"
_LOAD = f"""
SELECT {_COLUMNS} FROM messaging.consumer_source
WHERE consumer = $1 AND lease_token = $2 ORDER BY source
"""  # noqa: S608 - constants
_LOCK = """
SELECT source FROM messaging.consumer_source
WHERE consumer = $1 AND lease_token = $2 ORDER BY source FOR UPDATE
"""
# Fences, moves and claims in one round trip: the lock comes first and in order (protocol C3, D1),
# and the inbox is asked only under it. What cannot be stored as a whole is found by the count.
_MOVE = f"""
WITH own AS (
    SELECT source FROM messaging.consumer_source
    WHERE consumer = $1 AND lease_token = $3 AND source = ANY($4::text[])
    ORDER BY source FOR UPDATE
), moved AS (
    UPDATE messaging.consumer_source AS c
    SET positions = ($5::bigint[])[(n.place - 1) * {ALL_LANES} + 1 : n.place * {ALL_LANES}],
        last_ids = ($6::uuid[])[(n.place - 1) * {ALL_LANES} + 1 : n.place * {ALL_LANES}],
        updated_at = clock_timestamp()
    FROM own JOIN unnest($4::text[]) WITH ORDINALITY AS n (source, place) USING (source)
    WHERE c.consumer = $1 AND c.source = own.source AND cardinality($5::bigint[]) > 0
    RETURNING c.source
), fence AS (
    SELECT count(own.source) = cardinality($4::text[])
       AND (cardinality($5::bigint[]) = 0 OR count(moved.source) = cardinality($4::text[])) AS holds
    FROM own LEFT JOIN moved USING (source)
), claimed AS (
    {claim_from(f"fence JOIN {IDS} ON fence.holds")}
)
"""  # noqa: S608 - constants
_RECORD = f"{_MOVE}{CLAIMED}"
_RECORD_ALL = f"{_MOVE}{REQUIRE}"
_BEGIN = f"""
UPDATE messaging.consumer_source
SET positions = $4, last_ids = array_fill(NULL::uuid, ARRAY[{ALL_LANES}]), start = $4,
    topics = $5, system_identifier = $6, timeline = $7, horizon = $8, horizon_at = $9,
    updated_at = clock_timestamp()
WHERE consumer = $1 AND source = $2 AND lease_token = $3
"""  # noqa: S608 - constants
_CONTINUE = """
UPDATE messaging.consumer_source SET topics = $4, horizon = $5, horizon_at = $6
WHERE consumer = $1 AND source = $2 AND lease_token = $3
  AND (topics, horizon, horizon_at) IS DISTINCT FROM ($4::text[], $5::bigint, $6::timestamptz)
"""
# A renewal that a power cut loses costs nothing, so it does not wait for the disk.
_RENEW = """
WITH hurry AS (SELECT set_config('synchronous_commit', 'off', true))
UPDATE messaging.consumer_source
SET lease_until = clock_timestamp() + make_interval(secs => $3)
FROM hurry WHERE consumer = $1 AND lease_token = $2
RETURNING source
"""
_RELEASE = """
UPDATE messaging.consumer_source SET lease_token = NULL, lease_until = NULL
WHERE consumer = $1 AND lease_token = $2
"""


class PositionStore:
    """Statements on `messaging.consumer_source` for one consumer and its sources."""

    def __init__(self, database: Database, consumer: str, sources: Sequence[str]) -> None:
        self.database = database
        self._consumer = consumer
        self._sources = sorted(sources)

    async def acquire(self, token: UUID, lease_seconds: float) -> bool:
        """Take the lease of every source under this token, or of none. Does not wait."""
        async with self.database.transaction() as transaction:
            await transaction.execute(_ENSURE, self._consumer, self._sources)
            free = await transaction.fetch(_FREE, self._consumer, self._sources, lease_seconds)
            if len(free) < len(self._sources):
                return False
            await transaction.execute(_TAKE, self._consumer, self._sources, token, lease_seconds)
            return True

    async def load(self, token: UUID) -> dict[str, Stored] | None:
        """The rows under this token; None if another member took any of them."""
        rows = await self.database.fetch(_LOAD, self._consumer, token)
        stored = {row["source"]: _stored(row) for row in rows}
        return stored if self._sources == sorted(stored) else None

    async def renew(self, token: UUID, lease_seconds: float) -> bool:
        """Hold on; whether the token still has every source."""
        rows = await self.database.fetch(_RENEW, self._consumer, token, lease_seconds)
        return len(rows) == len(self._sources)

    async def release(self, token: UUID) -> None:
        """Hand the lease back, so that a stand-by need not wait for its end."""
        await self.database.fetch(_RELEASE, self._consumer, token)

    async def begin(self, source: str, token: UUID, begin: Begin, topics: Sequence[str]) -> None:
        """Start (again) at these positions, and record that. Raises LeaseLostError."""
        async with self.database.transaction() as transaction:
            touched = await transaction.execute(
                _BEGIN,
                self._consumer,
                source,
                token,
                list(begin.positions),
                sorted(topics),
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
        """Remember the source's horizon: inbox rows stay while they may be read again (D5)."""
        await self.database.fetch(
            _CONTINUE, self._consumer, source, token, sorted(topics), horizon, horizon_at
        )

    async def lock(self, transaction: Transaction, token: UUID) -> None:
        """Fence every other member until COMMIT.

        Raises LeaseLostError if the token no longer holds every source.
        """
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
        """Fence, store where the lanes of these sources are, and claim, in one statement."""
        arguments = self._recorded(token, lanes, message_ids, move=move)
        (row,) = await transaction.fetch(_RECORD, *arguments)
        if not row["holds"]:
            raise LeaseLostError(f"another member reads for {self._consumer} now")
        return set(row["claimed"])

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
        """The same, in front of the next statement, by Subscription.record_ahead's terms."""
        arguments = self._recorded(token, lanes, message_ids, move=move)
        await transaction.execute_ahead(_RECORD_ALL, *arguments, then=then)

    def _recorded(
        self, token: UUID, lanes: Mapping[str, Lanes], message_ids: Sequence[UUID], *, move: bool
    ) -> tuple[object, ...]:
        sources = sorted(lanes)
        moved = sources if move else []
        return (
            self._consumer,
            sorted(message_ids),
            token,
            sources,
            [seq for source in moved for seq in lanes[source].positions],
            [last_id for source in moved for last_id in lanes[source].last_ids],
        )


def _stored(row: Row) -> Stored:
    positions, start = row["positions"], row["start"]
    return Stored(
        positions=None if positions is None else tuple(positions),
        last_ids=tuple(row["last_ids"] or [None] * ALL_LANES),
        start=None if start is None else tuple(start),
        topics=frozenset(row["topics"]),
        system_identifier=row["system_identifier"],
        timeline=row["timeline"],
    )

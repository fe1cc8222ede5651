"""Outside calls on PostgreSQL: rows with a state, claimed with a lease (protocol M2, M6).

The token guards who calls next and when; an outcome of the outside world is kept whoever heard it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.delivery_row import (
    DELIVERY,
    place,
    postponed_row,
    settlement_of,
    state_of,
    to_delivery,
)
from waybill.messaging.core.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import (
        Database,
        Delivery,
        Park,
        Retry,
        Settlement,
        Transaction,
    )

KEY_BYTES_MAX = 2_000
"""Of a delivery's key: with its kind it stands in a B-tree, whose rows have 2,704 bytes."""

_ADD = """
INSERT INTO messaging.deliveries (
    id, kind, key, request, not_after, attempts, ask_first, correlation_id, causation_id,
    traceparent, lease_token, lease_until
)
SELECT n.*, $11::uuid, CASE WHEN $11::uuid IS NOT NULL
       THEN clock_timestamp() + make_interval(secs => $12) END
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[], $6::integer[],
    $7::boolean[], $8::text[], $9::uuid[], $10::text[]
) AS n
ON CONFLICT (kind, key) DO NOTHING
RETURNING id
"""
_LOCK_KEYS = """
SELECT key FROM messaging.deliveries
WHERE kind = $1 AND key = ANY($2::text[]) ORDER BY kind, key FOR UPDATE
"""
# A cancelled one is due at once, so that its refusal does not wait for a backoff.
_CANCEL = """
UPDATE messaging.deliveries
SET cancelled_at = clock_timestamp(), next_attempt_at = least(next_attempt_at, clock_timestamp())
WHERE kind = $1 AND key = ANY($2::text[]) AND cancelled_at IS NULL
  AND state IN ('PENDING', 'PARKED')
"""
# An expired lease means that a call may have been made and its outcome lost: ask first.
_CLAIM = f"""
UPDATE messaging.deliveries
SET ask_first = ask_first OR lease_token IS NOT NULL,
    lease_token = $3, lease_until = clock_timestamp() + make_interval(secs => $4)
WHERE id = ANY(ARRAY(
    SELECT id FROM messaging.deliveries
    WHERE kind = $1 AND state = 'PENDING' AND next_attempt_at <= clock_timestamp()
      AND (lease_until IS NULL OR lease_until <= clock_timestamp())
    ORDER BY next_attempt_at LIMIT $2
    FOR UPDATE SKIP LOCKED
))
RETURNING {DELIVERY}
"""  # noqa: S608 - constants
_FIND = f"""
SELECT {DELIVERY}, CASE WHEN state IN ('DELIVERED', 'REFUSED') THEN outcome END AS outcome
FROM messaging.deliveries WHERE kind = $1 AND key = ANY($2::text[]) ORDER BY key
"""  # noqa: S608 - constants
_EXISTING = "SELECT key FROM messaging.deliveries WHERE kind = $1 AND key = ANY($2::text[])"
_MARKS = """
SELECT id FROM messaging.deliveries WHERE id = ANY($1::uuid[]) AND cancelled_at IS NOT NULL
"""
_LOCK_IDS = """
SELECT FROM messaging.deliveries
WHERE id = ANY($1::uuid[]) ORDER BY kind, key FOR UPDATE
"""
# `id = ANY` besides the join: a plan made on an empty table would scan a full one. What was
# captured is recorded over anything, a refusal only over what is open (protocol M6).
_SETTLE = """
WITH own AS (
    SELECT id, state FROM messaging.deliveries
    WHERE id = ANY($1::uuid[]) ORDER BY kind, key FOR UPDATE
)
UPDATE messaging.deliveries AS d
SET state = s.state, outcome = s.outcome, settled_at = clock_timestamp(),
    lease_token = NULL, lease_until = NULL
FROM own JOIN unnest($1::uuid[], $2::text[], $3::bytea[]) AS s (id, state, outcome) USING (id)
WHERE d.id = own.id AND d.id = ANY($1::uuid[])
  AND (own.state IN ('PENDING', 'PARKED') OR own.state = 'REFUSED' AND s.state = 'DELIVERED')
RETURNING d.id
"""
_POSTPONE = """
UPDATE messaging.deliveries AS d
SET state = p.state, attempts = d.attempts + p.counts, ask_first = p.ask_first,
    next_attempt_at = clock_timestamp() + make_interval(secs => p.delay),
    reason = p.reason, lease_token = NULL, lease_until = NULL
FROM unnest(
    $1::uuid[], $2::text[], $3::integer[], $4::boolean[], $5::double precision[], $6::text[]
) AS p (id, state, counts, ask_first, delay, reason)
WHERE d.id = p.id AND d.id = ANY($1::uuid[]) AND d.lease_token = $7 AND d.state = 'PENDING'
"""


class PostgresDeliveries:
    """See core.ports.Deliveries. Inside a unit it speaks to the Transaction port only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        transaction: Transaction,
        deliveries: Sequence[Delivery],
        *,
        lease_token: UUID | None,
        lease_seconds: float,
    ) -> set[UUID]:
        """See Deliveries.add."""
        if not deliveries:
            return set()
        for delivery in deliveries:
            _check_key(delivery)
        rows = [
            (
                d.id, d.kind, d.key, d.request, d.not_after, d.attempts, d.ask_first,
                d.correlation_id, d.causation_id, d.traceparent,
            )
            for d in sorted(deliveries, key=place)
        ]  # fmt: skip
        new: set[UUID] = set()
        await transaction.fetch_later(
            _ADD,
            *_columns(rows),
            lease_token,
            float(lease_seconds),
            then=lambda added: new.update(row[0] for row in added),
        )
        return new

    async def cancel(self, transaction: Transaction, kind: str, keys: Sequence[str]) -> set[str]:
        """See Deliveries.cancel."""
        wanted = sorted(set(keys))
        rows = await transaction.fetch(_LOCK_KEYS, kind, wanted)
        await transaction.execute(_CANCEL, kind, wanted)
        return {row[0] for row in rows}

    async def existing(self, transaction: Transaction, kind: str, keys: Sequence[str]) -> set[str]:
        """See Deliveries.existing."""
        return {row[0] for row in await transaction.fetch(_EXISTING, kind, list(keys))}

    async def find(
        self, kind: str, keys: Sequence[str]
    ) -> Sequence[tuple[Delivery, Settlement | None]]:
        """See Deliveries.find."""
        rows = await self._database.fetch(_FIND, kind, list(keys))
        return [(to_delivery(row), settlement_of(row["outcome"])) for row in rows]

    async def claim(
        self, kind: str, limit: int, *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[Delivery]:
        """See Deliveries.claim. Commits by itself."""
        rows = await self._database.fetch(_CLAIM, kind, limit, lease_token, float(lease_seconds))
        return [to_delivery(row) for row in rows]

    async def marks(self, ids: Sequence[UUID]) -> set[UUID]:
        """See Deliveries.marks."""
        return {row[0] for row in await self._database.fetch(_MARKS, list(ids))}

    async def settle(
        self, transaction: Transaction, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> set[UUID]:
        """See Deliveries.settle."""
        if not settled:
            return set()
        rows = [
            (delivery.id, state_of(settlement), msgspec.json.encode(settlement))
            for delivery, settlement in settled
        ]
        decided = await transaction.fetch(_SETTLE, *_columns(rows))
        return {row[0] for row in decided}

    async def postpone(
        self,
        transaction: Transaction,
        postponed: Sequence[tuple[Delivery, Retry | Park]],
        *,
        lease_token: UUID,
    ) -> None:
        """See Deliveries.postpone."""
        if not postponed:
            return
        await transaction.fetch(_LOCK_IDS, [delivery.id for delivery, _ in postponed])
        rows = [postponed_row(delivery, what) for delivery, what in postponed]
        await transaction.execute(_POSTPONE, *_columns(rows), lease_token)


def _check_key(delivery: Delivery) -> None:
    size = len(delivery.key.encode(errors="replace"))
    if size > KEY_BYTES_MAX:
        reason = f"{delivery.kind}: a key of {size} bytes, the limit is {KEY_BYTES_MAX}"
        raise PermanentError(reason)


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]

"""Outside calls on MariaDB and MySQL: rows with a state, claimed with a lease (protocol M2, M6).

The token guards who calls next and when; an outcome of the outside world is kept whoever heard it.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.adapters.mysql.literals import seconds
from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.delivery_row import (
    DELIVERY,
    place,
    postponed_row,
    settlement_of,
    state_of,
    to_delivery,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.messaging.core.ports import (
        Database,
        Delivery,
        Park,
        Retry,
        Row,
        Settlement,
        Transaction,
    )

COLUMNS = DELIVERY.replace(" key,", " `key`,")
"""`key` is a word of these servers' own."""

# A call that is owed already counts double, so the number of rows says whether all are new.
_ADD = """
INSERT INTO messaging_deliveries (
    id, kind, `key`, request, not_after, attempts, ask_first, correlation_id, causation_id,
    traceparent, lease_token
) VALUES $1 ON DUPLICATE KEY UPDATE repeats = repeats + 1
"""
_ADDED = "SELECT id FROM messaging_deliveries WHERE id IN ($1) AND repeats = 0"
_LEASE = """
UPDATE messaging_deliveries SET lease_until = NOW(6) + INTERVAL $2 SECOND WHERE id IN ($1)
"""
# Rows are locked as the index has them: in the order of their keys (protocol C3).
_LOCK_KEYS = """
SELECT id, `key`, state FROM messaging_deliveries FORCE INDEX (messaging_deliveries_key)
WHERE kind = $1 AND `key` IN ($2) ORDER BY kind, `key` FOR UPDATE
"""
# A cancelled one is due at once, so that its refusal does not wait for a backoff.
_CANCEL = """
UPDATE messaging_deliveries
SET cancelled_at = NOW(6), next_attempt_at = least(next_attempt_at, NOW(6))
WHERE kind = $1 AND `key` IN ($2) AND cancelled_at IS NULL AND state IN ('PENDING', 'PARKED')
"""
_DUE = f"""
SELECT {COLUMNS}, lease_token IS NOT NULL AS was_leased FROM messaging_deliveries
WHERE kind = $1 AND state = 'PENDING' AND next_attempt_at <= NOW(6)
  AND (lease_until IS NULL OR lease_until <= NOW(6))
ORDER BY next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants
# An expired lease means that a call may have been made and its outcome lost: ask first.
_TAKE = """
UPDATE messaging_deliveries
SET ask_first = ask_first OR lease_token IS NOT NULL,
    lease_token = $2, lease_until = NOW(6) + INTERVAL $3 SECOND
WHERE id IN ($1)
"""
_FIND = f"""
SELECT {COLUMNS}, IF(state IN ('DELIVERED', 'REFUSED'), outcome, NULL) AS outcome
FROM messaging_deliveries WHERE kind = $1 AND `key` IN ($2) ORDER BY `key`
"""  # noqa: S608 - constants
_EXISTING = "SELECT `key` FROM messaging_deliveries WHERE kind = $1 AND `key` IN ($2)"
_MARKS = "SELECT id FROM messaging_deliveries WHERE id IN ($1) AND cancelled_at IS NOT NULL"
_SETTLE = """
UPDATE messaging_deliveries AS d JOIN ($1) AS s ON s.id = d.id
SET d.state = s.state, d.outcome = s.outcome, d.settled_at = NOW(6),
    d.lease_token = NULL, d.lease_until = NULL
"""
_POSTPONE = """
UPDATE messaging_deliveries AS d JOIN ($1) AS p ON p.id = d.id
SET d.state = p.state, d.attempts = d.attempts + p.counts, d.ask_first = p.ask_first,
    d.next_attempt_at = NOW(6) + INTERVAL p.delay SECOND,
    d.reason = p.reason, d.lease_token = NULL, d.lease_until = NULL
WHERE d.lease_token = $2 AND d.state = 'PENDING'
"""

_KIND = attrgetter("kind")


class MysqlDeliveries:
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
        rows = [
            (
                d.id, d.kind, d.key, d.request, d.not_after, d.attempts, d.ask_first,
                d.correlation_id, d.causation_id, d.traceparent, lease_token,
            )
            for d in sorted(deliveries, key=place)
        ]  # fmt: skip
        new = {delivery.id for delivery in deliveries}
        if await transaction.execute(_ADD, rows) != len(rows):
            new = {UUID(bytes=row[0]) for row in await transaction.fetch(_ADDED, sorted(new))}
        if lease_token is not None and new:
            await transaction.execute(_LEASE, sorted(new), seconds(lease_seconds))
        return new

    async def cancel(self, transaction: Transaction, kind: str, keys: Sequence[str]) -> set[str]:
        """See Deliveries.cancel."""
        wanted = sorted(set(keys))
        rows = await transaction.fetch(_LOCK_KEYS, kind, wanted)
        await transaction.execute(_CANCEL, kind, wanted)
        return {row["key"] for row in rows}

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
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(_DUE, kind, limit)
            if rows:
                ids = sorted(row["id"] for row in rows)
                await transaction.execute(_TAKE, ids, lease_token, seconds(lease_seconds))
        return [_claimed(row) for row in rows]

    async def marks(self, ids: Sequence[UUID]) -> set[UUID]:
        """See Deliveries.marks."""
        return {UUID(bytes=row[0]) for row in await self._database.fetch(_MARKS, list(ids))}

    async def settle(
        self, transaction: Transaction, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> set[UUID]:
        """See Deliveries.settle. What was captured is recorded over anything (protocol M6)."""
        states = await _lock(transaction, [delivery for delivery, _ in settled])
        decided = [
            (delivery.id, state_of(settlement), msgspec.json.encode(settlement))
            for delivery, settlement in settled
            if _decides(states.get(delivery.id), state_of(settlement))
        ]
        if decided:
            await transaction.execute(_SETTLE, Table("id, state, outcome", decided))
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
        await _lock(transaction, [delivery for delivery, _ in postponed])
        rows = [
            (id_, state, counts, ask_first, seconds(delay), reason)
            for id_, state, counts, ask_first, delay, reason in (
                postponed_row(delivery, what) for delivery, what in postponed
            )
        ]
        names = "id, state, counts, ask_first, delay, reason"
        await transaction.execute(_POSTPONE, Table(names, rows), lease_token)


async def _lock(transaction: Transaction, deliveries: Iterable[Delivery]) -> dict[UUID, str]:
    """Lock them in the one order (protocol C3); the states of those that exist."""
    states: dict[UUID, str] = {}
    for kind, group in groupby(sorted(deliveries, key=place), key=_KIND):
        rows = await transaction.fetch(_LOCK_KEYS, kind, [delivery.key for delivery in group])
        states.update((UUID(bytes=row["id"]), row["state"]) for row in rows)
    return states


def _decides(state: str | None, wanted: str) -> bool:
    return state in {"PENDING", "PARKED"} or (state == "REFUSED" and wanted == "DELIVERED")


def _claimed(row: Row) -> Delivery:
    delivery = to_delivery(row)
    return msgspec.structs.replace(
        delivery, ask_first=delivery.ask_first or bool(row["was_leased"])
    )

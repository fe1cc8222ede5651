"""Periodic work on PostgreSQL: one row a name, claimed with a lease, so it needs no owner (C14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database

_REGISTER = """
INSERT INTO messaging.schedule (name, due_at)
SELECT name, clock_timestamp() FROM unnest($1::text[]) AS name
ON CONFLICT (name) DO NOTHING
"""
_CLAIM = """
UPDATE messaging.schedule
SET lease_token = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE name = ANY(ARRAY(
    SELECT name FROM messaging.schedule
    WHERE name = ANY($1::text[]) AND due_at <= clock_timestamp()
      AND (lease_until IS NULL OR lease_until <= clock_timestamp())
    ORDER BY name FOR UPDATE SKIP LOCKED
))
RETURNING name
"""
_FINISH = """
UPDATE messaging.schedule
SET due_at = clock_timestamp() + make_interval(secs => $3), lease_token = NULL, lease_until = NULL
WHERE name = $1 AND lease_token = $2
RETURNING name
"""


class PostgresSchedule:
    """See core.ports.Schedule."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, names: Sequence[str]) -> None:
        """See Schedule.register."""
        await self._database.fetch(_REGISTER, sorted(set(names)))

    async def claim(
        self, names: Sequence[str], *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[str]:
        """See Schedule.claim."""
        rows = await self._database.fetch(_CLAIM, list(names), lease_token, float(lease_seconds))
        return sorted(row[0] for row in rows)

    async def finish(self, name: str, *, lease_token: UUID, next_seconds: float) -> bool:
        """See Schedule.finish."""
        rows = await self._database.fetch(_FINISH, name, lease_token, float(next_seconds))
        return bool(rows)

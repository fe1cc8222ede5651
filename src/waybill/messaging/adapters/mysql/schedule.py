"""Periodic work on MariaDB and MySQL: one row a name, claimed with a lease (protocol C14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.literals import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database

_REGISTER = """
INSERT INTO messaging_schedule (name, due_at) VALUES ($1, NOW(6))
ON DUPLICATE KEY UPDATE name = name
"""
_DUE = """
SELECT name FROM messaging_schedule
WHERE name IN ($1) AND due_at <= NOW(6) AND (lease_until IS NULL OR lease_until <= NOW(6))
ORDER BY name FOR UPDATE SKIP LOCKED
"""
_TAKE = """
UPDATE messaging_schedule SET lease_token = $2, lease_until = NOW(6) + INTERVAL $3 SECOND
WHERE name IN ($1)
"""
_FINISH = """
UPDATE messaging_schedule
SET due_at = NOW(6) + INTERVAL $3 SECOND, lease_token = NULL, lease_until = NULL
WHERE name = $1 AND lease_token = $2
"""


class MysqlSchedule:
    """See core.ports.Schedule."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, names: Sequence[str]) -> None:
        """See Schedule.register."""
        for name in sorted(set(names)):
            await self._database.fetch(_REGISTER, name)

    async def claim(
        self, names: Sequence[str], *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[str]:
        """See Schedule.claim."""
        async with self._database.transaction() as transaction:
            due = [row[0] for row in await transaction.fetch(_DUE, sorted(set(names)))]
            if due:
                await transaction.execute(_TAKE, due, lease_token, seconds(lease_seconds))
        return due

    async def finish(self, name: str, *, lease_token: UUID, next_seconds: float) -> bool:
        """See Schedule.finish."""
        async with self._database.transaction() as transaction:
            count = await transaction.execute(_FINISH, name, lease_token, seconds(next_seconds))
        return count > 0

"""Periodic work in memory."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.adapters.memory.database import Clock, MemoryDatabase

SCHEDULE = "schedule"


class ScheduleRow(msgspec.Struct, frozen=True):
    """One row of the table, under its name."""

    due_at: datetime
    lease_token: UUID | None = None
    lease_until: datetime | None = None


class MemorySchedule:
    """Implements `Schedule`."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def register(self, names: Sequence[str]) -> None:
        """See Schedule."""
        async with self._database.transaction() as transaction:
            for name in sorted(names):
                await transaction.lock(SCHEDULE, name)
                if transaction.get(SCHEDULE, name) is None:
                    await transaction.put(SCHEDULE, name, ScheduleRow(self._clock.now()))

    async def claim(
        self, names: Sequence[str], *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[str]:
        """See Schedule."""
        now, claimed = self._clock.now(), []
        until = now + timedelta(seconds=lease_seconds)
        async with self._database.transaction() as transaction:
            for name in sorted(names):
                row: ScheduleRow | None = transaction.get(SCHEDULE, name)
                if row is None or row.due_at > now or (SCHEDULE, name) in self._database.locks:
                    continue
                if row.lease_until is None or row.lease_until <= now:
                    leased = ScheduleRow(row.due_at, lease_token, until)
                    await transaction.put(SCHEDULE, name, leased)
                    claimed.append(name)
        return claimed

    async def finish(self, name: str, *, lease_token: UUID, next_seconds: float) -> bool:
        """See Schedule."""
        async with self._database.transaction() as transaction:
            await transaction.lock(SCHEDULE, name)
            row: ScheduleRow | None = transaction.get(SCHEDULE, name)
            if row is None or row.lease_token != lease_token:
                return False
            due_at = self._clock.now() + timedelta(seconds=next_seconds)
            await transaction.put(SCHEDULE, name, ScheduleRow(due_at))
            return True

"""The outside calls in memory."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.adapters.memory.database import Clock, MemoryDatabase, in_memory
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.core.ports import Delivery, Park, Retry, Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Transaction

DELIVERIES = "deliveries"


class DeliveryState(Enum):
    """Where a delivery is."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    REFUSED = "REFUSED"
    PARKED = "PARKED"


UNSETTLED = (DeliveryState.PENDING, DeliveryState.PARKED)


class DeliveryRow(msgspec.Struct, frozen=True):
    """One row of the table, under `(kind, key)`."""

    delivery: Delivery
    state: DeliveryState
    next_attempt_at: datetime
    lease_token: UUID | None = None
    lease_until: datetime | None = None
    settlement: Settlement | None = None
    reason: str = ""


class MemoryDeliveries:
    """Implements `Deliveries`."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @property
    def rows(self) -> list[DeliveryRow]:
        """All committed ones."""
        return list(self._database.tables.get(DELIVERIES, {}).values())

    async def add(
        self,
        transaction: Transaction,
        deliveries: Sequence[Delivery],
        *,
        lease_token: UUID | None,
        lease_seconds: float,
    ) -> set[UUID]:
        """See Deliveries."""
        memory, now, new = in_memory(transaction), self._clock.now(), set()
        until = now + timedelta(seconds=lease_seconds) if lease_token else None
        for delivery in sorted(deliveries, key=_key):
            await memory.lock(DELIVERIES, _key(delivery))
            if memory.get(DELIVERIES, _key(delivery)) is None:
                row = DeliveryRow(delivery, DeliveryState.PENDING, now, lease_token, until)
                await memory.put(DELIVERIES, _key(delivery), row)
                new.add(delivery.id)
        return new

    async def cancel(self, transaction: Transaction, kind: str, keys: Sequence[str]) -> set[str]:
        """See Deliveries."""
        memory, found = in_memory(transaction), set()
        for key in sorted(keys):
            await memory.lock(DELIVERIES, (kind, key))
            row: DeliveryRow | None = memory.get(DELIVERIES, (kind, key))
            if row is None:
                continue
            found.add(key)
            if row.state in UNSETTLED:
                marked = msgspec.structs.replace(row.delivery, cancelled=True)
                due = min(row.next_attempt_at, self._clock.now())
                cancelled = msgspec.structs.replace(row, delivery=marked, next_attempt_at=due)
                await memory.put(DELIVERIES, (kind, key), cancelled)
        return found

    async def existing(self, transaction: Transaction, kind: str, keys: Sequence[str]) -> set[str]:
        """See Deliveries."""
        memory = in_memory(transaction)
        return {key for key in keys if memory.get(DELIVERIES, (kind, key)) is not None}

    async def find(
        self, kind: str, keys: Sequence[str]
    ) -> Sequence[tuple[Delivery, Settlement | None]]:
        """See Deliveries."""
        self._database.fault("begin")
        wanted = {(kind, key) for key in keys}
        found = [row for row in self.rows if _key(row.delivery) in wanted]
        return [
            (row.delivery, row.settlement)
            for row in sorted(found, key=lambda each: each.delivery.key)
        ]

    async def claim(
        self, kind: str, limit: int, *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[Delivery]:
        """See Deliveries."""
        now, claimed = self._clock.now(), []
        until = now + timedelta(seconds=lease_seconds)
        async with self._database.transaction() as transaction:
            due = [
                row
                for row in transaction.rows(DELIVERIES).values()
                if row.delivery.kind == kind and _is_due(row, now)
            ]
            for row in sorted(due, key=lambda each: each.next_attempt_at)[:limit]:
                key = _key(row.delivery)
                if (DELIVERIES, key) in self._database.locks:
                    continue
                expired = row.lease_token is not None
                delivery = msgspec.structs.replace(
                    row.delivery, ask_first=row.delivery.ask_first or expired
                )
                leased = msgspec.structs.replace(
                    row, delivery=delivery, lease_token=lease_token, lease_until=until
                )
                await transaction.put(DELIVERIES, key, leased)
                claimed.append(delivery)
        return claimed

    async def marks(self, ids: Sequence[UUID]) -> set[UUID]:
        """See Deliveries."""
        self._database.fault("begin")
        wanted = set(ids)
        cancelled = {row.delivery.id for row in self.rows if row.delivery.cancelled}
        return wanted & cancelled

    async def settle(
        self, transaction: Transaction, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> set[UUID]:
        """See Deliveries."""
        memory, new = in_memory(transaction), set()
        for delivery, settlement in sorted(settled, key=lambda each: _key(each[0])):
            key = _key(delivery)
            await memory.lock(DELIVERIES, key)
            row: DeliveryRow | None = memory.get(DELIVERIES, key)
            if row is None or row.state is DeliveryState.DELIVERED:
                continue
            if isinstance(settlement, Refused) and row.state not in UNSETTLED:
                continue
            new.add(delivery.id)
            delivered = isinstance(settlement, Delivered)
            state = DeliveryState.DELIVERED if delivered else DeliveryState.REFUSED
            done = msgspec.structs.replace(
                row, state=state, settlement=settlement, lease_token=None, lease_until=None
            )
            await memory.put(DELIVERIES, key, done)
        return new

    async def postpone(
        self,
        transaction: Transaction,
        postponed: Sequence[tuple[Delivery, Retry | Park]],
        *,
        lease_token: UUID,
    ) -> None:
        """See Deliveries."""
        memory, now = in_memory(transaction), self._clock.now()
        for delivery, verdict in sorted(postponed, key=lambda each: _key(each[0])):
            key = _key(delivery)
            await memory.lock(DELIVERIES, key)
            row: DeliveryRow | None = memory.get(DELIVERIES, key)
            if row is None or row.lease_token != lease_token:
                continue
            await memory.put(DELIVERIES, key, _postponed(row, verdict, now))


def _key(delivery: Delivery) -> tuple[str, str]:
    return (delivery.kind, delivery.key)


def _is_due(row: DeliveryRow, now: datetime) -> bool:
    if row.state is not DeliveryState.PENDING:
        return False
    if row.lease_until is not None:
        return row.lease_until <= now
    return row.next_attempt_at <= now


def _postponed(row: DeliveryRow, verdict: Retry | Park, now: datetime) -> DeliveryRow:
    free = msgspec.structs.replace(row, lease_token=None, lease_until=None, reason=verdict.reason)
    attempts = row.delivery.attempts
    if isinstance(verdict, Park):
        delivery = msgspec.structs.replace(row.delivery, attempts=attempts + 1)
        return msgspec.structs.replace(free, delivery=delivery, state=DeliveryState.PARKED)
    delivery = msgspec.structs.replace(
        row.delivery, attempts=attempts + verdict.counts, ask_first=verdict.ask_first
    )
    at = now + timedelta(seconds=verdict.delay_seconds)
    return msgspec.structs.replace(free, delivery=delivery, next_attempt_at=at)

"""The log in memory: reads outboxes lane by lane, one active member a consumer (D1 to D3)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.adapters.memory.database import Clock, MemoryDatabase, in_memory
from waybill.messaging.adapters.memory.inbox import MemoryInbox
from waybill.messaging.core.errors import ClaimRefusedError, LeaseLostError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.message import Batch, Positions, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.messaging.adapters.memory.database import MemoryTransaction
    from waybill.messaging.adapters.memory.outbox import MemoryOutbox
    from waybill.messaging.core.ports import Subscription, Transaction

CONSUMER_SOURCE = "consumer_source"
NOTHING = Batch((), Positions({}))
LanePositions = dict[int, tuple[int, UUID | None]]


class SourceRow(msgspec.Struct, frozen=True):
    """A consumer's place in one source: the lease, and how far each lane is read."""

    lease_token: UUID | None
    lease_until: datetime
    positions: LanePositions


class MemoryLog:
    """Implements `Log` over outboxes by name; positions live in the consumer's database."""

    def __init__(
        self,
        sources: Mapping[str, MemoryOutbox],
        database: MemoryDatabase,
        clock: Clock,
        *,
        lease_seconds: float = 10.0,
        poll_seconds: float = 1.0,
    ) -> None:
        self.sources = dict(sources)
        self.database = database
        self.clock = clock
        self.lease_seconds = lease_seconds
        self.poll_seconds = poll_seconds

    async def subscribe(self, consumer: str, topics: Sequence[str]) -> Subscription:
        """See Log."""
        token = new_id()
        while not await self.take(consumer, token):
            await self.clock.wait(asyncio.Event(), self.poll_seconds)
        subscription = MemorySubscription(self, consumer, frozenset(topics), token)
        await subscription.rewind()
        return subscription

    async def take(self, consumer: str, token: UUID) -> bool:
        """Lease the consumer to `token` if nobody else holds it; whether that worked."""
        now = self.clock.now()
        until = now + timedelta(seconds=self.lease_seconds)
        async with self.database.transaction() as transaction:
            rows = await source_rows(transaction, consumer, self.sources)
            others = [row for row in rows.values() if row.lease_token not in (None, token)]
            if any(row.lease_until > now for row in others):
                return False
            for source, row in rows.items():
                leased = msgspec.structs.replace(row, lease_token=token, lease_until=until)
                await transaction.put(CONSUMER_SOURCE, (consumer, source), leased)
            return True


class MemorySubscription:
    """Implements `Subscription`."""

    shares = False

    def __init__(self, log: MemoryLog, consumer: str, topics: frozenset[str], token: UUID) -> None:
        self._log = log
        self._consumer = consumer
        self._topics = topics
        self._token = token
        self._joined = True
        self._fetched: dict[tuple[str, int], int] = {}
        """Index into each lane's list of what comes next."""
        self._appended = asyncio.Event()
        for outbox in log.sources.values():
            outbox.listen(self._appended)

    async def fetch(self, limit: int, within_seconds: float | None = None) -> Batch:
        """See Subscription."""
        self._log.database.fault("begin")
        if not self._joined:
            await self.rewind()
        self._appended.clear()
        if self._joined:
            await self._renew()
        batch = self._read(limit) if self._joined else NOTHING
        if not batch.scanned:
            seconds = self._log.poll_seconds if within_seconds is None else within_seconds
            await self._log.clock.wait(self._appended, seconds)
            batch = self._read(limit) if self._joined else NOTHING
        return batch

    def _read(self, limit: int) -> Batch:
        records: list[Record] = []
        scanned: dict[tuple[str, int], tuple[int, UUID | None]] = {}
        for source, outbox in self._log.sources.items():
            for lane in range(ALL_LANES):
                rows = outbox.lanes[lane]
                start = self._fetched.get((source, lane), 0)
                for row in rows[start : start + limit - len(records)]:
                    if row.message.topic in self._topics:
                        records.append(Record(source, lane, row.seq, row.message))
                    scanned[(source, lane)] = (row.seq, row.message.id)
                    start += 1
                self._fetched[(source, lane)] = start
        return Batch(tuple(records), Positions(scanned))

    async def _renew(self) -> None:
        now = self._log.clock.now()
        half = timedelta(seconds=self._log.lease_seconds / 2)
        async with self._log.database.transaction() as transaction:
            rows = await self._own_rows(transaction)
            for source, row in rows.items():
                if row.lease_until < now + half:
                    renewed = msgspec.structs.replace(row, lease_until=now + 2 * half)
                    await transaction.put(CONSUMER_SOURCE, (self._consumer, source), renewed)

    async def lock(self, transaction: Transaction) -> None:
        """See Subscription."""
        await self._own_rows(in_memory(transaction))

    async def record(
        self,
        transaction: Transaction,
        positions: Positions,
        message_ids: Sequence[UUID] = (),
        *,
        move: bool = True,
    ) -> set[UUID]:
        """See Subscription."""
        memory = in_memory(transaction)
        rows = await self._own_rows(memory)
        moved: dict[str, LanePositions] = {}
        for (source, lane), position in positions.lanes.items():
            moved.setdefault(source, {})[lane] = position
        for source, lanes in moved.items() if move else ():
            row = rows[source]
            recorded = msgspec.structs.replace(row, positions=row.positions | lanes)
            await memory.put(CONSUMER_SOURCE, (self._consumer, source), recorded)
        return await MemoryInbox().claim(transaction, self._consumer, message_ids)

    async def record_ahead(
        self,
        transaction: Transaction,
        positions: Positions,
        message_ids: Sequence[UUID],
        then: Callable[[], None],
        *,
        move: bool = True,
    ) -> None:
        """See Subscription.record_ahead."""
        claimed = await self.record(transaction, positions, message_ids, move=move)
        if len(claimed) < len(message_ids):
            raise ClaimRefusedError("a message was applied before")
        then()

    async def acknowledge(self, positions: Positions) -> None:
        """See Subscription."""
        for (source, lane), position in positions.lanes.items():
            self._log.sources[source].reported.setdefault(self._consumer, {})[lane] = position

    async def rewind(self) -> None:
        """See Subscription."""
        self._joined = await self._log.take(self._consumer, self._token)
        if not self._joined:
            return
        async with self._log.database.transaction() as transaction:
            rows = await self._own_rows(transaction)
        self._fetched = {
            (source, lane): sum(
                row.seq <= rows[source].positions.get(lane, (0, None))[0]
                for row in outbox.lanes[lane]
            )
            for source, outbox in self._log.sources.items()
            for lane in range(ALL_LANES)
        }

    async def close(self) -> None:
        """See Subscription."""
        for outbox in self._log.sources.values():
            outbox.forget(self._appended)
        async with self._log.database.transaction() as transaction:
            rows = await source_rows(transaction, self._consumer, self._log.sources)
            for source, row in rows.items():
                if row.lease_token == self._token:
                    freed = msgspec.structs.replace(row, lease_token=None)
                    await transaction.put(CONSUMER_SOURCE, (self._consumer, source), freed)

    async def _own_rows(self, transaction: MemoryTransaction) -> dict[str, SourceRow]:
        rows = await source_rows(transaction, self._consumer, self._log.sources)
        if any(row.lease_token != self._token for row in rows.values()):
            reason = f"another member of {self._consumer} holds the lease now"
            raise LeaseLostError(reason)
        return rows


async def source_rows(
    transaction: MemoryTransaction, consumer: str, sources: Mapping[str, MemoryOutbox]
) -> dict[str, SourceRow]:
    """The consumer's rows by source, locked; fresh ones where there is none yet."""
    rows = {}
    for source in sorted(sources):
        await transaction.lock(CONSUMER_SOURCE, (consumer, source))
        row = transaction.get(CONSUMER_SOURCE, (consumer, source))
        rows[source] = row or SourceRow(None, datetime.min, {})  # noqa: DTZ901 - never compared
    return rows

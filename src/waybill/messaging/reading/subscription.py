"""One consumer's reading end of the outboxes: lease, batches, positions (protocol D1-D8)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import LeaseLostError, TransientError
from waybill.messaging.core.message import Batch, Positions, in_partition_order
from waybill.messaging.reading.lease import LeaseKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Transaction
    from waybill.messaging.reading.ports import Lanes, PositionStore
    from waybill.messaging.reading.reader import SourceReader
    from waybill.messaging.reading.settings import LogSettings

EMPTY = Batch((), Positions({}))
IDLE_RECORD_SECONDS = 1.0
"""Positions over rows that nobody here wants are worth one write a second (protocol D2)."""
STAND_BY_SECONDS = 0.5


class OutboxSubscription:
    """See core.ports.Subscription. For one task: `fetch` and `rewind` must not overlap."""

    shares = False

    def __init__(
        self,
        consumer: str,
        readers: Sequence[SourceReader],
        store: PositionStore,
        *,
        settings: LogSettings,
        wake: asyncio.Event,
        monotonic: Callable[[], float],
        new_id: Callable[[], UUID],
    ) -> None:
        self._consumer = consumer
        self._readers = {reader.name: reader for reader in readers}
        self._store = store
        self._settings = settings
        self._wake = wake
        self._monotonic = monotonic
        self._new_id = new_id
        self._keeper = LeaseKeeper(store, self._readers, settings, monotonic)
        self._joined = False
        self._turns = 0
        self._scanned: dict[tuple[str, int], tuple[int, UUID | None]] = {}
        self._idle_recorded_at = 0.0
        self._at_close: list[Callable[[], None]] = []

    def at_close(self, call: Callable[[], None]) -> None:
        """Call this once when the subscription closes."""
        self._at_close.append(call)

    async def join(self) -> bool:
        """Take the lease and start at the stored positions; False while another member has it.

        Raises TransientError if the consumer's own database is down, ConfigurationError if a
        source must not be read. A source that is down is tried again later.
        """
        self._joined = False
        await self._stop_turns()
        self._scanned = {}
        held = self._keeper.token
        stored = await self._store.load(held) if held is not None else None
        if held is None or stored is None:
            held = self._new_id()
            if not await self._store.acquire(held, self._settings.lease_seconds):
                return False
            stored = await self._store.load(held)
            if stored is None:
                return False
        self._keeper.hold(held)
        for name, reader in self._readers.items():
            reader.restart(stored[name])
        await asyncio.gather(*(reader.reach(held) for reader in self._readers.values()))
        self._checked_token()
        self._joined = True
        return True

    async def stand_by(self) -> None:
        """Join; wait as long as another member has the lease. Raises as `join` does."""
        while True:
            if await self.join():
                return
            await asyncio.sleep(STAND_BY_SECONDS)

    async def fetch(self, limit: int, within_seconds: float | None = None) -> Batch:
        """See Subscription.fetch."""
        if not self._joined and not await self.join():
            await asyncio.sleep(STAND_BY_SECONDS)
            return EMPTY
        poll = self._settings.poll_seconds
        deadline = self._monotonic() + (poll if within_seconds is None else within_seconds)
        while True:
            self._wake.clear()
            await self._turn(limit, self._checked_token())
            self._checked_token()
            batch = self._collect(limit)
            if batch is not None:
                return batch
            now = self._monotonic()
            if now >= deadline:
                self._raise_if_nothing_can_be_read()
                return EMPTY
            looks = [r.due_at() for r in self._readers.values() if r.task is None]
            await self._sleep(min([deadline, *looks]) - now)

    async def lock(self, transaction: Transaction) -> None:
        """See Subscription.lock."""
        await self._store.lock(transaction, self._checked_token())

    async def record(
        self,
        transaction: Transaction,
        positions: Positions,
        message_ids: Sequence[UUID] = (),
        *,
        move: bool = True,
    ) -> set[UUID]:
        """See Subscription.record."""
        token, lanes = self._checked_token(), self._moved(positions)
        return await self._store.record(transaction, token, lanes, message_ids, move=move)

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
        token, lanes = self._checked_token(), self._moved(positions)
        await self._store.record_ahead(transaction, token, lanes, message_ids, then, move=move)

    def _moved(self, positions: Positions) -> dict[str, Lanes]:
        lanes: dict[str, Lanes] = {}
        for (source, lane), (seq, last_id) in positions.lanes.items():
            moved = lanes.get(source)
            if moved is None:
                moved = lanes[source] = self._readers[source].committed_lanes.copy()
            moved.move(lane, seq, last_id)
        return lanes

    async def acknowledge(self, positions: Positions) -> None:
        """See Subscription.acknowledge: the report itself goes out in the background."""
        for (source, lane), (seq, last_id) in positions.lanes.items():
            self._readers[source].committed(lane, seq, last_id)
            self._keeper.report_soon(source)

    async def rewind(self) -> None:
        """See Subscription.rewind."""
        await self.join()

    async def close(self) -> None:
        """See Subscription.close. Does not wait for a database that is down."""
        self._joined = False
        for call in self._at_close:
            call()
        self._at_close.clear()
        await self._stop_turns()
        await self._keeper.close()
        await asyncio.gather(*(reader.source.close() for reader in self._readers.values()))

    def _checked_token(self) -> UUID:
        """The token, unless something happened that the consumer must know of."""
        if self._keeper.failure is not None:
            raise self._keeper.failure
        for reader in self._readers.values():
            if reader.refusal is not None:
                raise reader.refusal
        if self._keeper.token is None:
            raise LeaseLostError(f"another member reads for {self._consumer} now")
        return self._keeper.token

    async def _turn(self, limit: int, token: UUID) -> None:
        """Look at every source that is due; wait for the healthy ones, but not for long."""
        now = self._monotonic()
        for reader in self._readers.values():
            if reader.is_due(now):
                reader.task = asyncio.create_task(reader.turn(limit, token))
                reader.task.add_done_callback(reader.turn_done)
                reader.is_slow = reader.error is not None
        healthy = {
            reader.task: reader
            for reader in self._readers.values()
            if reader.task is not None and not reader.is_slow
        }
        if healthy:
            _, late = await asyncio.wait(healthy, timeout=self._settings.grace_seconds)
            for task in late:
                healthy[task].is_slow = True

    def _collect(self, limit: int) -> Batch | None:
        """What is ready, sources taking turns at being first; None if there is nothing to say."""
        readers = list(self._readers.values())
        self._turns += 1
        records: list[Record] = []
        for offset in range(len(readers)):
            reader = readers[(self._turns + offset) % len(readers)]
            for lane, seq, last_id, record in reader.take(limit - len(records)):
                self._scanned[reader.name, lane] = (seq, last_id)
                if record is not None:
                    records.append(record)
        now = self._monotonic()
        if not records and (
            not self._scanned or now - self._idle_recorded_at < IDLE_RECORD_SECONDS
        ):
            return None
        self._idle_recorded_at = now
        records.sort(key=in_partition_order)
        scanned, self._scanned = self._scanned, {}
        return Batch(tuple(records), Positions(scanned))

    def _raise_if_nothing_can_be_read(self) -> None:
        errors = [reader.error for reader in self._readers.values()]
        if all(error is not None for error in errors):
            raise TransientError("; ".join(sorted({str(error) for error in errors})))

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    async def _stop_turns(self) -> None:
        tasks = [reader.task for reader in self._readers.values() if reader.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

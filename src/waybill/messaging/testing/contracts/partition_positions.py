"""What every PartitionPositions must do: positions commit with effects, and only their owner's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.core.errors import ClaimRefusedError, LeaseLostError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.ports import PartitionPosition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from waybill.messaging.core.ports import Database, PartitionPositions

CONSUMER = "tracking"
A, B = ("parcel-events", 0), ("parcel-events", 5)
SOON_SECONDS = 10.0


class PartitionPositionsContract:
    """Fixtures to give: `database`, and `positions` in it."""

    async def record(
        self,
        database: Database,
        positions: PartitionPositions,
        token: UUID,
        at: Mapping[tuple[str, int], int],
        *ids: UUID,
    ) -> set[UUID]:
        """Store these offsets and claim, in a transaction of its own."""
        moved = {place: PartitionPosition("log-1", offset) for place, offset in at.items()}
        async with database.transaction() as transaction:
            return await positions.record(transaction, CONSUMER, token, moved, ids)

    async def test_what_was_never_read_has_no_position(self, positions: PartitionPositions) -> None:
        """Protocol C15: a new consumer begins at the log's start, not at offset 0 of nothing."""
        assert await positions.take(CONSUMER, new_id(), [A, B]) == {}
        assert await positions.stored(CONSUMER) == {}

    async def test_positions_and_claims_commit_together(
        self, database: Database, positions: PartitionPositions
    ) -> None:
        """Protocol C15: a new owner goes on where the effects are, and a repeat claims nothing."""
        token, ids = new_id(), [new_id(), new_id()]
        await positions.take(CONSUMER, token, [A, B])
        assert await self.record(database, positions, token, {A: 7, B: 2}, *ids) == set(ids)
        assert await self.record(database, positions, token, {A: 8}, *ids) == set()
        expected = {A: PartitionPosition("log-1", 8), B: PartitionPosition("log-1", 2)}
        assert await positions.stored(CONSUMER) == expected
        assert await positions.take(CONSUMER, new_id(), [B, A]) == expected
        assert await positions.stored("another") == {}

    async def test_a_rollback_leaves_nothing(
        self, database: Database, positions: PartitionPositions
    ) -> None:
        """The position moves with the effects or not at all."""
        token, message_id = new_id(), new_id()
        await positions.take(CONSUMER, token, [A])
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                moved = {A: PartitionPosition("log-1", 3)}
                await positions.record(transaction, CONSUMER, token, moved, [message_id])
                raise LookupError
        assert await positions.stored(CONSUMER) == {}
        claimed = await self.record(database, positions, token, {A: 3}, message_id)
        assert claimed == {message_id}

    async def test_ahead_all_is_stored_or_nothing(
        self, database: Database, positions: PartitionPositions
    ) -> None:
        """A message that was applied before, or a lost partition, refuses positions and claims."""
        token, first, second = new_id(), new_id(), new_id()
        await positions.take(CONSUMER, token, [A])
        granted: list[int] = []

        async def ahead(offset: int, owner: UUID, *ids: UUID) -> None:
            moved = {A: PartitionPosition("log-1", offset)}
            async with database.transaction() as transaction:
                await positions.record_ahead(
                    *(transaction, CONSUMER, owner, moved, ids),
                    then=lambda: granted.append(offset),
                )

        await ahead(1, token, first)
        with pytest.raises(ClaimRefusedError):
            await ahead(2, token, first, second)
        with pytest.raises((ClaimRefusedError, LeaseLostError)):
            await ahead(3, new_id(), second)
        assert granted == [1]
        assert await positions.stored(CONSUMER) == {A: PartitionPosition("log-1", 1)}
        await ahead(4, token, second)
        assert granted == [1, 4]

    async def test_who_lost_a_partition_can_store_nothing(
        self, database: Database, positions: PartitionPositions
    ) -> None:
        """Protocol C15: a member that was paused past its session wakes up to a closed door."""
        late, owner = new_id(), new_id()
        await positions.take(CONSUMER, late, [A, B])
        await positions.take(CONSUMER, owner, [B])
        with pytest.raises(LeaseLostError):
            await self.record(database, positions, late, {A: 1, B: 1}, new_id())
        assert await positions.stored(CONSUMER) == {}
        await self.record(database, positions, late, {A: 1})
        await self.record(database, positions, owner, {B: 4})
        assert {
            place: each.offset for place, each in (await positions.stored(CONSUMER)).items()
        } == {
            A: 1,
            B: 4,
        }

    async def test_taking_waits_for_a_unit_in_work(
        self, database: Database, positions: PartitionPositions
    ) -> None:
        """The new owner starts behind what the last one is about to commit."""
        late = new_id()
        await positions.take(CONSUMER, late, [A])
        async with database.transaction() as transaction:
            moved = {A: PartitionPosition("log-1", 9)}
            await positions.record(transaction, CONSUMER, late, moved, [])
            taking = asyncio.create_task(positions.take(CONSUMER, new_id(), [A]))
            await asyncio.sleep(0.05)
            assert not taking.done()
        async with asyncio.timeout(SOON_SECONDS):
            assert (await taking)[A].offset == 9

    async def test_the_lock_keeps_what_is_owned(
        self, database: Database, positions: PartitionPositions
    ) -> None:
        """A unit without positions is fenced as well."""
        token = new_id()
        await positions.take(CONSUMER, token, [A])
        async with database.transaction() as transaction:
            await positions.lock(transaction, CONSUMER, token)
            taking = asyncio.create_task(positions.take(CONSUMER, new_id(), [A]))
            await asyncio.sleep(0.05)
            assert not taking.done()
        async with asyncio.timeout(SOON_SECONDS):
            await taking

"""The adapter on MariaDB and MySQL keeps the contracts of the ports that PostgreSQL's keeps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec
import pytest

from waybill.messaging.adapters.mysql.dead_letters import MysqlDeadLetters
from waybill.messaging.adapters.mysql.deliveries import MysqlDeliveries
from waybill.messaging.adapters.mysql.inbox import MysqlInbox, purge_inbox
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.adapters.mysql.partition_positions import MysqlPartitionPositions
from waybill.messaging.adapters.mysql.schedule import MysqlSchedule
from waybill.messaging.core.identity import new_id
from waybill.messaging.testing.contracts.dead_letters import DeadLettersContract, Judge, a_letter
from waybill.messaging.testing.contracts.deliveries import DeliveriesContract
from waybill.messaging.testing.contracts.inbox import InboxContract
from waybill.messaging.testing.contracts.outbox import OutboxContract, a_message
from waybill.messaging.testing.contracts.partition_positions import PartitionPositionsContract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.messaging.mysql.conftest import OutboxRows

    from waybill.messaging.adapters.mysql.connection import MysqlDatabase
    from waybill.messaging.core.message import Appended


@pytest.fixture
def outbox() -> MysqlOutbox:
    """With the default limits."""
    return MysqlOutbox()


class TestMysqlOutbox(OutboxContract):
    async def test_what_is_told_is_what_is_stored(
        self, database: MysqlDatabase, read: OutboxRows
    ) -> None:
        """Protocol O1, O5: numbers are drawn under the lane's lock, side by side with others."""
        told: list[Appended] = []
        outbox = MysqlOutbox(doorbell=told.extend)

        async def writer(first: int) -> None:
            for n in range(first, first + 12):
                async with database.transaction() as transaction:
                    outbox.append(transaction, [a_message(f"key-{n * m}") for m in range(1, 9)])

        await asyncio.gather(*(writer(first) for first in range(5)))
        for lane in {each.lane for each in told}:
            here = sorted((each for each in told if each.lane == lane), key=lambda each: each.seq)
            assert [each.before for each in here] == [0, *(each.seq for each in here[:-1])]
            stored = await read(lane, 0, 1000)
            assert [(r.seq, r.message.id) for r in stored] == [
                (each.seq, each.message.id) for each in here
            ]

    async def test_o2_a_lane_waits_for_its_owner(
        self, database: MysqlDatabase, outbox: MysqlOutbox, read: OutboxRows
    ) -> None:
        """Protocol O1, O2: nobody numbers in a lane before the one who did has ended."""
        lane_of_k = 0
        async with database.transaction() as holder:
            await holder.fetch("SELECT lane FROM messaging_outbox_lock FOR UPDATE")

            async def late() -> None:
                async with database.transaction() as transaction:
                    outbox.append(transaction, [a_message("")])

            task = asyncio.create_task(late())
            await asyncio.wait([task], timeout=0.2)
            assert not task.done()
            assert await read(lane_of_k, 0, 10) == []
        await task
        assert len(await read(lane_of_k, 0, 10)) == 1

    async def test_a_large_batch_is_one_unit_in_order(
        self, database: MysqlDatabase, read: OutboxRows
    ) -> None:
        """A batch that no statement can carry is several, numbered on under the same locks."""
        told: list[Appended] = []
        outbox = MysqlOutbox(doorbell=told.extend)
        sent = [a_message("k", value=bytes([n]) * 700_000) for n in range(9)]
        sent += [a_message("k") for _ in range(1_200)]
        async with database.transaction() as transaction:
            outbox.append(transaction, sent)
        records = await read(told[0].lane, 0, 2_000)
        assert [record.message.id for record in records] == [message.id for message in sent]
        assert [each.seq for each in told] == [record.seq for record in records]


class TestMysqlInbox(InboxContract):
    @pytest.fixture
    def inbox(self) -> MysqlInbox:
        return MysqlInbox()

    async def test_d5_a_row_stays_while_its_source_may_send_it_again(
        self, database: MysqlDatabase, inbox: MysqlInbox
    ) -> None:
        """Protocol D5: old rows go, unless a source's horizon is older than they are."""
        ids = [new_id() for _ in range(7)]
        async with database.transaction() as transaction:
            await inbox.claim(transaction, "billing", ids)
        await database.fetch("UPDATE messaging_inbox SET processed_at = NOW(6) - INTERVAL 9 DAY")
        source = "INSERT INTO messaging_consumer_source (consumer, source, topics, horizon_at)"
        await database.fetch(f"{source} VALUES ('billing', 'a', '[]', NOW(6) - INTERVAL 10 DAY)")
        assert await purge_inbox(database, 86_400.0) == 0
        assert await purge_inbox(database, 86_400.0 * 10, sources_hold=False) == 0
        await database.fetch("UPDATE messaging_consumer_source SET horizon_at = NOW(6)")
        assert await purge_inbox(database, 86_400.0, page_rows=3) == 7


class TestMysqlDeadLetters(DeadLettersContract):
    @pytest.fixture
    def dead_letters(self, database: MysqlDatabase) -> MysqlDeadLetters:
        return MysqlDeadLetters(database, MysqlOutbox())

    @pytest.fixture
    def judge(self, database: MysqlDatabase) -> Judge:
        async def give(
            consumer: str, message_ids: Sequence[UUID], verdict: Literal["REDRIVE", "DISCARDED"]
        ) -> None:
            await database.fetch(
                "UPDATE messaging_dead_letters SET verdict = $3 "
                "WHERE consumer = $1 AND message_id IN ($2)",
                consumer,
                list(message_ids),
                verdict,
            )

        return give

    async def test_letters_that_no_statement_carries_are_several(
        self, database: MysqlDatabase, dead_letters: MysqlDeadLetters
    ) -> None:
        """A stranger's bytes, escaped, are twice as many; max_allowed_packet is 16 MiB here."""
        letters = [a_letter(key=f"key-{n}") for n in range(12)]
        for letter in letters:
            message = msgspec.structs.replace(letter.record.message, value=bytes(900_000))
            record = msgspec.structs.replace(letter.record, message=message)
            letters[letters.index(letter)] = msgspec.structs.replace(letter, record=record)
        async with database.transaction() as transaction:
            await dead_letters.add(transaction, letters)
        rows = await database.fetch("SELECT length(value) FROM messaging_dead_letters")
        assert [row[0] for row in rows] == [900_000] * 12


class TestMysqlDeliveries(DeliveriesContract):
    @pytest.fixture
    def deliveries(self, database: MysqlDatabase) -> MysqlDeliveries:
        return MysqlDeliveries(database)


class TestMysqlPartitionPositions(PartitionPositionsContract):
    @pytest.fixture
    def positions(self, database: MysqlDatabase) -> MysqlPartitionPositions:
        return MysqlPartitionPositions(database)


async def test_c14_each_due_row_is_claimed_by_one(database: MysqlDatabase) -> None:
    """Protocol C14: a row is skipped while it is leased, and is due again when it was finished."""
    schedule = MysqlSchedule(database)
    await schedule.register(["b", "a"])
    await schedule.register(["b", "c"])
    first, second = new_id(), new_id()
    assert await schedule.claim(["a", "b"], lease_token=first, lease_seconds=60.0) == ["a", "b"]
    assert await schedule.claim(["a", "c"], lease_token=second, lease_seconds=0.0) == ["c"]
    assert await schedule.claim(["c"], lease_token=first, lease_seconds=60.0) == ["c"]
    assert not await schedule.finish("c", lease_token=second, next_seconds=0.0)
    assert await schedule.finish("a", lease_token=first, next_seconds=0.0)
    assert await schedule.finish("b", lease_token=first, next_seconds=60.0)
    assert await schedule.claim(["a", "b"], lease_token=second, lease_seconds=60.0) == ["a"]

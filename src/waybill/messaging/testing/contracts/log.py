"""What every Log must do: each member of a topic's record once, in lane order, and none skipped."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest

from waybill.messaging.core.errors import ClaimRefusedError, LeaseLostError
from waybill.messaging.core.lanes import LANE_COUNT, lane_of
from waybill.messaging.core.message import Batch, Positions
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Message, Record
    from waybill.messaging.core.ports import Database, Log, Outbox, Subscription

TOPIC = "parcel-events"
OTHER_TOPIC = "letter-events"
CONSUMER = "tracking"
FEW_SECONDS = 30.0


async def publish(database: Database, outbox: Outbox, messages: Sequence[Message]) -> None:
    """Commit these messages together."""
    async with database.transaction() as transaction:
        outbox.append(transaction, messages)


async def commit(subscription: Subscription, database: Database, batch: Batch) -> None:
    """What a consumer does with a batch, without effects."""
    async with database.transaction() as transaction:
        await subscription.lock(transaction)
        await subscription.record(transaction, batch.scanned)
    await subscription.acknowledge(batch.scanned)


async def next_records(subscription: Subscription, limit: int = 100) -> Batch:
    """The next batch that has records."""
    async with asyncio.timeout(FEW_SECONDS):
        while True:
            batch = await subscription.fetch(limit)
            if batch.records:
                return batch


async def read_all(
    subscription: Subscription, database: Database, count: int, limit: int = 100
) -> list[Record]:
    """Read and commit until this many records came."""
    records: list[Record] = []
    while len(records) < count:
        batch = await next_records(subscription, limit)
        assert len(batch.records) <= limit
        await commit(subscription, database, batch)
        records += batch.records
    return records


@asynccontextmanager
async def subscribed(log: Log, topics: Sequence[str] = (TOPIC,)) -> AsyncIterator[Subscription]:
    """A member, closed at the end."""
    subscription = await log.subscribe(CONSUMER, topics)
    try:
        yield subscription
    finally:
        await subscription.close()


class LogContract:
    """Fixtures to give: `producing` and `outbox`, `consuming`, `make_log`.

    `consuming` is the consumer's own database; `make_log` gives a Log over both that polls at
    least five times a second; every call stands for another process. `lane_count` is the number
    of lanes (or partitions) that the keys of a topic fall into.
    """

    lane_count: ClassVar[int] = LANE_COUNT

    async def test_record_claims_what_is_new_with_the_positions(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol C1, D1: claims commit and roll back with the positions; a repeat gets none."""
        await publish(producing, outbox, [a_message("a"), a_message("b")])
        async with subscribed(make_log()) as subscription:
            batch = await next_records(subscription)
            ids = [record.message.id for record in batch.records]
            with pytest.raises(LookupError):
                async with consuming.transaction() as transaction:
                    await subscription.record(transaction, batch.scanned, ids)
                    raise LookupError
            async with consuming.transaction() as transaction:
                claimed = await subscription.record(transaction, batch.scanned, ids)
            assert claimed == set(ids)
            async with consuming.transaction() as transaction:
                assert not await subscription.record(transaction, batch.scanned, ids)

    async def test_positions_that_are_not_moved_fence_and_come_again(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Without `move` messages are claimed, and the place is where it was before."""
        await publish(producing, outbox, [a_message("a"), a_message("b")])
        async with subscribed(make_log()) as subscription:
            if subscription.shares:
                return
            batch = await next_records(subscription)
            first, second = [record.message.id for record in batch.records]
            scanned = batch.scanned
            async with consuming.transaction() as transaction:
                assert await subscription.record(transaction, scanned, [first], move=False)
            async with consuming.transaction() as transaction:
                await subscription.record_ahead(
                    transaction, scanned, [second], lambda: None, move=False
                )
            await subscription.rewind()
            again = await next_records(subscription)
            assert [record.message.id for record in again.records] == [first, second]
            async with consuming.transaction() as transaction:
                assert not await subscription.record(transaction, again.scanned, [first, second])

    async def test_record_ahead_grants_all_or_nothing(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol C1, D1: with one message applied before, no claim and no position is stored."""
        await publish(producing, outbox, [a_message("a")])
        granted: list[str] = []

        async def record_ahead(batch: Batch, *more: UUID) -> None:
            ids = [*more, *(record.message.id for record in batch.records)]
            async with consuming.transaction() as transaction:
                await subscription.record_ahead(
                    transaction, batch.scanned, ids, lambda: granted.append("all")
                )
            await subscription.acknowledge(batch.scanned)

        async with subscribed(make_log()) as subscription:
            first = await next_records(subscription)
            await record_ahead(first)
            await subscription.acknowledge(first.scanned)
            assert granted == ["all"]
            await publish(producing, outbox, [a_message("a")])
            second = await next_records(subscription)
            with pytest.raises(ClaimRefusedError):
                await record_ahead(second, first.records[0].message.id)
            assert granted == ["all"]
            await subscription.rewind()
            again = await read_all(subscription, consuming, 1)
            assert again[0].message.id == second.records[0].message.id

    async def test_every_committed_message_comes_once_in_lane_order(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol O1, O2, D2: while many units commit on all lanes, a reader misses none."""
        units = [
            [a_message(f"key-{(n * 7 + m * 3) % 60}") for m in range(1 + n % 5)] for n in range(200)
        ]
        sent = [message for unit in units for message in unit]
        todo = iter(units)

        async def writer() -> None:
            for unit in todo:
                await publish(producing, outbox, unit)

        async with subscribed(make_log()) as subscription, asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(writer())
            records = await read_all(subscription, consuming, len(sent), limit=37)
        ids = [record.message.id for record in records]
        assert len(ids) == len(set(ids))
        assert set(ids) == {message.id for message in sent}
        lanes: dict[int, list[int]] = defaultdict(list)
        for record in records:
            lanes[record.lane].append(record.seq)
        assert len(lanes) == self.lane_count
        assert all(seqs == sorted(seqs) for seqs in lanes.values())

    async def test_message_comes_back_whole(
        self, producing: Database, outbox: Outbox, make_log: Callable[[], Log]
    ) -> None:
        """Every field of the envelope and every byte of the value is what was appended."""
        message = a_message(
            "ключ",
            value=b"\x00\xff raw",
            version=3,
            aggregate_type="parcel",
            aggregate_version=7,
            correlation_id="conversation",
            causation_id=a_message().id,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            headers={"x-a": b"\x01", "x-b": b""},
        )
        await publish(producing, outbox, [message])
        async with subscribed(make_log()) as subscription:
            batch = await next_records(subscription)
        assert [record.message for record in batch.records] == [message]

    async def test_positions_move_over_other_topics(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol D2: what nobody here wants is passed over, stored as read, never shipped."""
        foreign = [a_message(f"key-{n}", topic=OTHER_TOPIC) for n in range(50)]
        await publish(producing, outbox, foreign)
        async with subscribed(make_log()) as subscription:
            scanned: set[object] = set()
            async with asyncio.timeout(FEW_SECONDS):
                while len(scanned) < len({lane_of(message.key) for message in foreign}):
                    batch = await subscription.fetch(100)
                    assert batch.records == ()
                    if batch.scanned:
                        await commit(subscription, consuming, batch)
                        scanned |= set(batch.scanned.lanes)
            wanted = a_message("key-1")
            await publish(producing, outbox, [wanted])
            batch = await next_records(subscription)
        assert [record.message.id for record in batch.records] == [wanted.id]

    async def test_a_batch_never_exceeds_its_limit(
        self, producing: Database, outbox: Outbox, make_log: Callable[[], Log]
    ) -> None:
        """A consumer decides how much it takes at once."""
        await publish(producing, outbox, [a_message(f"key-{n}") for n in range(40)])
        async with subscribed(make_log()) as subscription:
            sizes: list[int] = []
            while sum(sizes) < 40:
                sizes.append(len((await next_records(subscription, 7)).records))
        assert max(sizes) <= 7

    async def test_fetching_goes_on_without_a_commit(
        self, producing: Database, outbox: Outbox, make_log: Callable[[], Log]
    ) -> None:
        """Fetch does not hand out a record twice, recorded or not, until a rewind."""
        sent = [a_message("k") for _ in range(4)]
        await publish(producing, outbox, sent)
        async with subscribed(make_log()) as subscription:
            got = [(await next_records(subscription, 1)).records[0] for _ in sent]
            await subscription.rewind()
            again = (await next_records(subscription)).records
        assert [record.message.id for record in got] == [message.id for message in sent]
        assert list(again) == got

    async def test_rolled_back_batch_comes_again(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol D1: the position commits with the effects, or not at all."""
        sent = [a_message("k"), a_message("l")]
        await publish(producing, outbox, sent)
        async with subscribed(make_log()) as subscription:
            batch = await next_records(subscription)
            with pytest.raises(LookupError):
                async with consuming.transaction() as transaction:
                    await subscription.lock(transaction)
                    await subscription.record(transaction, batch.scanned)
                    raise LookupError
            await subscription.rewind()
            again = await read_all(subscription, consuming, 2)
        # Of two partitions the first batch may have one message only.
        assert {r.message.id for r in again} == {message.id for message in sent}
        assert {r.message.id for r in batch.records} <= {message.id for message in sent}

    async def test_parts_of_a_batch_are_recorded_one_by_one(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol C4: a bisected batch moves the position only over the parts that are done."""
        await publish(producing, outbox, [a_message(f"key-{n % 3}") for n in range(9)])
        async with subscribed(make_log()) as subscription:
            batch = await next_records(subscription)
            while len(batch.records) < 9:
                await subscription.rewind()
                batch = await next_records(subscription)
            await commit(subscription, consuming, batch.part(0, 2))
            await commit(subscription, consuming, batch.part(2, 5))
            await subscription.rewind()
            rest = await read_all(subscription, consuming, 4)
        assert sorted(rest, key=_place) == sorted(batch.records[5:], key=_place)

    async def test_a_new_member_goes_on_behind_the_stored_positions(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """A restart reads neither what is done again nor past what is not."""
        await publish(producing, outbox, [a_message(f"key-{n}") for n in range(20)])
        async with subscribed(make_log()) as subscription:
            first = await read_all(subscription, consuming, 20, limit=5)
        late = [a_message(f"key-{n}") for n in range(20)]
        await publish(producing, outbox, late)
        async with subscribed(make_log()) as subscription:
            second = await read_all(subscription, consuming, 20)
        assert len(first) == 20
        assert {record.message.id for record in second} == {message.id for message in late}

    async def test_stand_by_takes_over_at_once_after_close(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol D1: one active member a consumer; a closed one waits for no lease to end."""
        async with asyncio.TaskGroup() as group:
            async with subscribed(make_log()) as active:
                joining = group.create_task(make_log().subscribe(CONSUMER, [TOPIC]))
                await publish(producing, outbox, [a_message("k")])
                (record,) = await read_all(active, consuming, 1)
                assert not joining.done()
            async with asyncio.timeout(4.0):
                second = await joining
        await publish(producing, outbox, [a_message("k")])
        (after,) = await read_all(second, consuming, 1)
        await second.close()
        assert after.seq > record.seq

    async def test_member_that_was_closed_can_change_nothing(
        self,
        producing: Database,
        outbox: Outbox,
        consuming: Database,
        make_log: Callable[[], Log],
    ) -> None:
        """Protocol D1: the fence is the first statement of a batch, whoever wakes up late."""
        await publish(producing, outbox, [a_message("k")])
        async with subscribed(make_log()) as late:
            batch = await next_records(late)
        with pytest.raises(LeaseLostError):
            await commit(late, consuming, batch)
        async with subscribed(make_log()) as subscription:
            (record,) = await read_all(subscription, consuming, 1)
        assert record == batch.records[0]

    async def test_fetch_of_nothing_ends_soon(self, make_log: Callable[[], Log]) -> None:
        """An empty batch is normal, so that the loop can look after other things."""
        async with subscribed(make_log()) as subscription, asyncio.timeout(5.0):
            batch = await subscription.fetch(10)
            await subscription.acknowledge(Positions({}))
        assert batch.records == ()

    async def test_close_may_be_repeated(self, make_log: Callable[[], Log]) -> None:
        """Draining twice is no error."""
        async with subscribed(make_log()) as subscription:
            await subscription.close()


def _place(record: Record) -> tuple[int, int]:
    return (record.lane, record.seq)

"""What every Deliveries must do: each outside call is owed once, leased to one, settled once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.core.ports import Delivery, Park, Retry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Deliveries, Settlement

KIND = "label"
LEASE_SECONDS = 60.0
FEW_SECONDS = 30.0
DONE, NO = Delivered(b"printed"), Refused("no paper", "tray 2")


def a_delivery(key: str, kind: str = KIND) -> Delivery:
    """An outside call that is owed."""
    return Delivery(
        id=new_id(),
        kind=kind,
        key=key,
        request=b"\x00\xff",
        correlation_id=key,
        causation_id=new_id(),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


class DeliveriesContract:
    """Fixtures to give: `database`, `deliveries`. Real time passes."""

    async def _add(
        self,
        database: Database,
        deliveries: Deliveries,
        *owed: Delivery,
        token: UUID | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> set[UUID]:
        async with database.transaction() as transaction:
            return await deliveries.add(
                transaction, owed, lease_token=token, lease_seconds=lease_seconds
            )

    async def _claim(
        self, deliveries: Deliveries, token: UUID | None = None, limit: int = 100
    ) -> Sequence[Delivery]:
        return await deliveries.claim(
            KIND, limit, lease_token=token or new_id(), lease_seconds=LEASE_SECONDS
        )

    async def _settle(
        self, database: Database, deliveries: Deliveries, delivery: Delivery, outcome: Settlement
    ) -> set[UUID]:
        async with database.transaction() as transaction:
            return await deliveries.settle(transaction, [(delivery, outcome)])

    async def _postpone(
        self,
        database: Database,
        deliveries: Deliveries,
        delivery: Delivery,
        what: Retry | Park,
        token: UUID,
    ) -> None:
        async with database.transaction() as transaction:
            await deliveries.postpone(transaction, [(delivery, what)], lease_token=token)

    async def _claim_eventually(self, deliveries: Deliveries) -> Delivery:
        async with asyncio.timeout(FEW_SECONDS):
            while True:
                for delivery in await self._claim(deliveries):
                    return delivery
                await asyncio.sleep(0.02)

    async def test_one_call_is_owed_per_kind_and_key(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Kind and key are the idempotency key: a repeat adds nothing."""
        first, other_kind = a_delivery("a"), a_delivery("a", "mail")
        assert await self._add(database, deliveries, first, other_kind) == {
            first.id,
            other_kind.id,
        }
        repeat, second = a_delivery("a"), a_delivery("b")
        assert await self._add(database, deliveries, repeat, second) == {second.id}
        assert {d.id for d in await self._claim(deliveries)} == {first.id, second.id}

    async def test_delivery_comes_back_whole(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """The deliverer gets what the handler owed, byte by byte."""
        owed = a_delivery("a")
        await self._add(database, deliveries, owed)
        assert list(await self._claim(deliveries)) == [owed]

    async def test_rolled_back_call_is_not_owed(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """No state, no call."""
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                await deliveries.add(
                    transaction, [a_delivery("a")], lease_token=None, lease_seconds=1.0
                )
                raise LookupError
        assert await self._claim(deliveries) == []

    async def test_leased_delivery_is_nobody_elses(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Inserted leased or claimed: until the lease ends only its holder calls."""
        leased, free = a_delivery("a"), a_delivery("b")
        await self._add(database, deliveries, leased, token=new_id())
        await self._add(database, deliveries, free)
        assert [d.id for d in await self._claim(deliveries)] == [free.id]
        assert await self._claim(deliveries) == []

    async def test_claims_side_by_side_never_overlap(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Each due delivery goes to exactly one of many claimants."""
        owed = [a_delivery(f"key-{n}") for n in range(40)]
        await self._add(database, deliveries, *owed)
        claimed: list[UUID] = []
        async with asyncio.timeout(FEW_SECONDS):
            while len(claimed) < len(owed):
                pages = await asyncio.gather(*(self._claim(deliveries, limit=7) for _ in range(4)))
                assert all(len(page) <= 7 for page in pages)
                claimed += [delivery.id for page in pages for delivery in page]
        assert sorted(claimed) == sorted(delivery.id for delivery in owed)

    async def test_expired_lease_means_ask_first(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Protocol M6: a holder that fell silent may have called; its successor asks."""
        owed = a_delivery("a")
        await self._add(database, deliveries, owed, token=new_id(), lease_seconds=0.1)
        claimed = await self._claim_eventually(deliveries)
        assert claimed.id == owed.id
        assert claimed.ask_first

    async def test_postponed_delivery_waits_and_counts(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """A try that was made counts; the delay is kept; ask_first is as told."""
        token = new_id()
        await self._add(database, deliveries, a_delivery("a"), a_delivery("b"))
        first, second = sorted(await self._claim(deliveries, token), key=lambda d: d.key)
        await self._postpone(database, deliveries, first, Retry(3600.0, "later"), token)
        await self._postpone(database, deliveries, second, Retry(0.0, "now", ask_first=True), token)
        again = await self._claim_eventually(deliveries)
        assert (again.id, again.attempts, again.ask_first) == (second.id, 1, True)
        assert await self._claim(deliveries) == []

    async def test_breaker_open_spends_time_not_attempts(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """No call was made, so none is counted."""
        token = new_id()
        await self._add(database, deliveries, a_delivery("a"))
        (claimed,) = await self._claim(deliveries, token)
        not_called = Retry(0.0, "breaker open", counts=False)
        await self._postpone(database, deliveries, claimed, not_called, token)
        again = await self._claim_eventually(deliveries)
        assert (again.attempts, again.ask_first) == (0, False)

    async def test_foreign_token_schedules_nothing(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Protocol M6: who lost the lease no longer says when the next try is."""
        token = new_id()
        await self._add(database, deliveries, a_delivery("a"))
        (claimed,) = await self._claim(deliveries, token)
        await self._postpone(database, deliveries, claimed, Retry(0.0, "mine"), new_id())
        assert await self._claim(deliveries) == []
        await self._postpone(database, deliveries, claimed, Park("mine"), new_id())
        await self._postpone(database, deliveries, claimed, Retry(0.0, "its holder's"), token)
        again = await self._claim_eventually(deliveries)
        assert (again.id, again.attempts) == (claimed.id, 1)
        assert await self._settle(database, deliveries, claimed, DONE) == {claimed.id}

    async def test_parked_delivery_waits_for_an_operator(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Protocol M6: no claim finds it; a late answer still settles it."""
        token = new_id()
        await self._add(database, deliveries, a_delivery("a"))
        (claimed,) = await self._claim(deliveries, token)
        await self._postpone(database, deliveries, claimed, Park("unknown"), token)
        assert await self._claim(deliveries) == []
        assert await self._settle(database, deliveries, claimed, DONE) == {claimed.id}

    @pytest.mark.parametrize("outcome", [DONE, NO])
    async def test_settled_once(
        self, database: Database, deliveries: Deliveries, outcome: Settlement
    ) -> None:
        """The first outcome decides; a repeat decides nothing, and nobody claims it again."""
        token = new_id()
        await self._add(database, deliveries, a_delivery("a"))
        (claimed,) = await self._claim(deliveries, token)
        assert await self._settle(database, deliveries, claimed, outcome) == {claimed.id}
        assert await self._settle(database, deliveries, claimed, outcome) == set()
        assert await self._settle(database, deliveries, claimed, NO) == set()
        await self._postpone(database, deliveries, claimed, Retry(0.0, "again"), token)
        assert await self._claim(deliveries) == []

    async def test_captured_is_recorded_over_a_refusal(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Protocol M6: money that was taken after all is told, whoever holds the lease."""
        await self._add(database, deliveries, a_delivery("a"), token=new_id())
        owed = a_delivery("b")
        await self._add(database, deliveries, owed)
        assert await self._settle(database, deliveries, owed, NO) == {owed.id}
        assert await self._settle(database, deliveries, owed, DONE) == {owed.id}
        assert await self._settle(database, deliveries, owed, NO) == set()

    async def test_captured_is_recorded_though_its_lease_is_over(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Protocol M6: the token guards scheduling only; an outcome that comes late is told."""
        late = a_delivery("a")
        await self._add(database, deliveries, late, token=new_id(), lease_seconds=0.0)
        assert await self._settle(database, deliveries, late, DONE) == {late.id}

    async def test_settling_rolls_back_with_its_unit(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """The outcome commits with the events that tell of it."""
        owed = a_delivery("a")
        await self._add(database, deliveries, owed)
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                await deliveries.settle(transaction, [(owed, DONE)])
                raise LookupError
        assert await self._settle(database, deliveries, owed, NO) == {owed.id}

    async def test_cancel_marks_what_is_not_settled(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Protocol M2: the mark is there before the next call; keys say what exists."""
        waiting, done = a_delivery("waiting"), a_delivery("done")
        await self._add(database, deliveries, waiting, done)
        await self._settle(database, deliveries, done, DONE)
        async with database.transaction() as transaction:
            found = await deliveries.cancel(transaction, KIND, ["done", "nobody", "waiting"])
        assert found == {"done", "waiting"}
        assert await deliveries.marks([waiting.id, done.id, new_id()]) == {waiting.id}
        (claimed,) = await self._claim(deliveries)
        assert claimed.cancelled

    async def test_cancelled_delivery_is_due_at_once(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Its refusal does not wait for the backoff that it was in."""
        token = new_id()
        await self._add(database, deliveries, a_delivery("a"))
        (claimed,) = await self._claim(deliveries, token)
        await self._postpone(database, deliveries, claimed, Retry(3600.0, "later"), token)
        async with database.transaction() as transaction:
            await deliveries.cancel(transaction, KIND, ["a"])
        assert (await self._claim_eventually(deliveries)).cancelled

    async def test_find_tells_what_became_of_a_key(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Open ones without an outcome, settled ones with it, others of the kind's keys only."""
        owed, done, refused = a_delivery("a"), a_delivery("b"), a_delivery("c")
        other = a_delivery("a", kind="other")
        await self._add(database, deliveries, owed, done, refused, other)
        await self._settle(database, deliveries, done, DONE)
        await self._settle(database, deliveries, refused, NO)
        found = await deliveries.find(KIND, ["c", "a", "nobody", "b"])
        assert list(found) == [(owed, None), (done, DONE), (refused, NO)]
        assert list(await deliveries.find(KIND, [])) == []

    async def test_a_key_exists_whatever_became_of_it(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Open, settled, or added by the same transaction; of this kind only."""
        owed, done, other = a_delivery("a"), a_delivery("b"), a_delivery("c", kind="other")
        await self._add(database, deliveries, owed, done, other)
        await self._settle(database, deliveries, done, DONE)
        async with database.transaction() as transaction:
            added = [a_delivery("d")]
            await deliveries.add(transaction, added, lease_token=None, lease_seconds=1)
            found = await deliveries.existing(transaction, KIND, ["a", "b", "c", "d", "nobody"])
        assert found == {"a", "b", "d"}

    async def test_nothing_to_do_is_no_error(
        self, database: Database, deliveries: Deliveries
    ) -> None:
        """Empty batches are normal."""
        async with database.transaction() as transaction:
            assert await deliveries.settle(transaction, []) == set()
            await deliveries.postpone(transaction, [], lease_token=new_id())
            assert await deliveries.cancel(transaction, KIND, []) == set()
            assert await deliveries.existing(transaction, KIND, []) == set()
        assert await self._add(database, deliveries) == set()
        assert await deliveries.marks([]) == set()

"""Outside calls: made once where that can be known, asked about where not, settled in batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.messaging.ledger import CODEC, Copied

from waybill.messaging.adapters.memory import MemoryDeliveries, MemoryTransaction
from waybill.messaging.adapters.memory.deliveries import DELIVERIES, DeliveryState
from waybill.messaging.core.breaker import Breaker, BreakerPolicy
from waybill.messaging.core.errors import (
    ConfigurationError,
    DomainConstraintError,
    OutcomeUnknownError,
    TransientError,
)
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import (
    Delivered,
    Failed,
    NotFound,
    Outcome,
    QueryOutcome,
    Refused,
    Unknown,
)
from waybill.messaging.core.ports import Delivery, Retry
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.messaging.runtime.delivery import DeliveryPolicy, after_call
from waybill.messaging.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Settlement
    from waybill.messaging.core.unit import UnitOfWork

KIND = "charge"
BOOKS = "books"


class Provider:
    """The outside: keeps what it did, by key, and answers as a test wants."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        """Charges that took effect; a repeated key takes effect once."""
        self.calls: list[str] = []
        self.queries: list[str] = []
        self.answer: Callable[[Delivery], Outcome | None] = lambda _delivery: None
        self.query_answer: Callable[[Delivery], QueryOutcome | None] = lambda _delivery: None
        self.running = self.running_max = 0
        self.gate: asyncio.Event | None = None

    async def call(self, delivery: Delivery) -> Outcome:
        """One charge."""
        self.calls.append(delivery.key)
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            answer = self.answer(delivery)
            if answer is None:
                self.done[delivery.key] = 1
                return Delivered(b"receipt")
            return answer
        finally:
            self.running -= 1

    async def query(self, delivery: Delivery) -> QueryOutcome:
        """What became of a key."""
        self.queries.append(delivery.key)
        answer = self.query_answer(delivery)
        if answer is not None:
            return answer
        return Delivered(b"receipt") if self.done[delivery.key] else NotFound()


class Payments(MemoryService):
    """A service that owes charges."""

    def __init__(self, *, asks: bool = True, **policy: Any) -> None:  # noqa: ANN401 - its fields
        super().__init__(CODEC, name="payments")
        self.provider = Provider()
        self.settlements: list[int] = []
        self.asks = asks
        self.policy = DeliveryPolicy(**policy)
        self.refuse_to_settle: Callable[[Sequence[tuple[Delivery, Settlement]]], None] = (
            lambda _settled: None
        )
        self.deliverer = self.new_deliverer()

    def new_deliverer(self) -> Deliverer:
        """As a start of the process makes it."""
        return Deliverer(
            KIND,
            ports=self.ports,
            deliveries=self.deliveries,
            call=self.provider.call,
            query=self.provider.query if self.asks else None,
            settled=self.settled,
            policy=self.policy,
            breaker=Breaker(BreakerPolicy(open_jitter=0.0), self.ports.random),
        )

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Book the outcomes and publish them."""
        self.refuse_to_settle(settled)
        self.settlements.append(len(settled))
        memory = unit.transaction
        assert isinstance(memory, MemoryTransaction)
        for delivery, settlement in settled:
            booked = memory.get(BOOKS, delivery.key) or ()
            await memory.put(BOOKS, delivery.key, (*booked, settlement))
            unit.publish(Copied(delivery.key, 1), key=delivery.key)

    async def owe(self, *keys: str, through: Deliverer | None = None, **fields: Any) -> None:  # noqa: ANN401 - fields of a delivery
        """Commit charges, through a deliverer (leased to it) or as another process would."""
        deliveries = [
            Delivery(id=new_id(), kind=KIND, key=key, request=b"{}", **fields) for key in keys
        ]
        async with self.database.transaction() as transaction:
            if through is not None:
                await through.owe(self.ports.unit(transaction), deliveries)
            else:
                await self.deliveries.add(
                    transaction, deliveries, lease_token=None, lease_seconds=0
                )

    def row(self, key: str) -> Any:  # noqa: ANN401 - the adapter's row
        """The delivery's row."""
        return self.database.tables[DELIVERIES][KIND, key]

    def state(self, key: str) -> DeliveryState:
        """The delivery's state."""
        state: DeliveryState = self.row(key).state
        return state

    @property
    def books(self) -> dict[str, tuple[Settlement, ...]]:
        """What was booked by key; more than one entry is one too many."""
        return self.database.tables.get(BOOKS, {})

    def all_in(self, state: DeliveryState) -> bool:
        """Whether every delivery is in this state."""
        return {row.state for row in self.deliveries.rows} == {state}


def test_m6_a_lease_shorter_than_a_call_is_refused() -> None:
    """M6: timeout + margin < lease, checked before anything is called."""
    with pytest.raises(ConfigurationError, match="must be below lease_seconds"):
        DeliveryPolicy(timeout_seconds=20, margin_seconds=10, lease_seconds=30)


def test_an_open_breaker_says_how_long_to_wait() -> None:
    """A try that made no call waits as long as it was told, at least, and counts nothing."""
    delivery = Delivery(id=new_id(), kind=KIND, key="a", request=b"", attempts=3)
    failed = Failed("breaker open", counts=False, retry_after_seconds=4.5)
    verdict = after_call(failed, delivery, DeliveryPolicy(), lambda: 0.5)
    assert verdict == Retry(4.5, "breaker open", counts=False)


async def test_owed_calls_are_made_after_the_commit_without_a_claim() -> None:
    """A delivery that this process inserted is called at once, and its outcome booked once."""
    world = Payments()
    async with world.running(world.deliverer):
        await world.owe("a", "b", through=world.deliverer)
        await world.clock.settle()
        assert world.clock.monotonic() == 0.0
        assert world.all_in(DeliveryState.DELIVERED)
    assert {key: len(booked) for key, booked in world.books.items()} == {"a": 1, "b": 1}
    assert len(world.outbox.messages) == 2
    assert world.observer.counts[KIND, "attempted", "delivered"] == 2


@pytest.mark.parametrize(("point", "calls"), [("committed", 1), ("commit", 0)])
async def test_m6_a_call_that_may_be_owed_is_found_out_at_once(point: str, calls: int) -> None:
    """M6: the answer to the commit is lost: made once if it is owed, long before the lease ends."""
    world = Payments(lease_seconds=30.0)

    def fault(reached: str) -> None:
        if reached == point:
            world.fault = lambda _point: None
            raise OutcomeUnknownError("connection reset")

    async with world.running(world.deliverer):
        await world.clock.settle()
        world.fault = fault
        with pytest.raises(OutcomeUnknownError):
            await world.owe("a", through=world.deliverer)
        await world.clock.advance(2.0)
        assert len(world.provider.calls) == calls
        await world.clock.advance(60.0)
    assert len(world.provider.calls) == calls
    assert [len(booked) for booked in world.books.values()] == [1] * calls


async def test_a_rolled_back_unit_owes_nothing() -> None:
    """No state, no call."""
    world = Payments()
    async with world.running(world.deliverer):
        with pytest.raises(LookupError):
            async with world.database.transaction() as transaction:
                owed = Delivery(id=new_id(), kind=KIND, key="a", request=b"")
                await world.deliverer.owe(world.ports.unit(transaction), [owed])
                raise LookupError
        await world.clock.advance(60.0)
    assert world.provider.calls == []


async def test_a_key_that_exists_is_not_owed_twice() -> None:
    """P6: (kind, key) is one call, whoever owes it again."""
    world = Payments()
    async with world.running(world.deliverer):
        await world.owe("a", through=world.deliverer)
        await world.owe("a", through=world.deliverer)
        await world.clock.advance(60.0)
    assert world.provider.calls == ["a"]


async def test_calls_of_other_processes_are_claimed_within_a_second() -> None:
    """C14: due rows are claimed by whoever has room."""
    world = Payments()
    async with world.running(world.deliverer):
        await world.clock.settle()
        await world.owe("a", "b")
        await world.clock.until(lambda: world.all_in(DeliveryState.DELIVERED), within_seconds=1.1)


async def test_m2_past_its_deadline_nothing_is_called() -> None:
    """M2: after an outage nobody charges dead orders."""
    world = Payments()
    await world.owe("late", not_after=world.clock.now())
    await world.owe("soon", not_after=world.clock.now() + timedelta(seconds=60))
    async with world.running(world.deliverer):
        await world.clock.until(lambda: len(world.books) == 2)
    assert world.provider.calls == ["soon"]
    assert world.books["late"] == (Refused("deadline"),)


async def test_m2_a_cancel_mark_is_read_before_each_call() -> None:
    """M2: a mark that comes between two attempts ends it without another call."""
    world = Payments()
    world.provider.answer = lambda _delivery: Failed("503")
    await world.owe("a")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: world.provider.calls == ["a"])
        await world.clock.settle()
        async with world.database.transaction() as transaction:
            assert await world.deliveries.cancel(transaction, KIND, ["a", "b"]) == {"a"}
        await world.clock.until(lambda: bool(world.books))
    assert world.books["a"] == (Refused("cancelled"),)
    assert world.provider.calls == ["a"]


async def test_m2_a_mark_set_while_a_call_waits_in_the_queue_is_seen() -> None:
    """M2: the mark is read when the call's turn comes, not when it was owed."""
    world = Payments(concurrency_max=1)
    world.provider.gate = asyncio.Event()
    async with world.running(world.deliverer):
        await world.owe("a", "b", through=world.deliverer)
        await world.clock.settle()
        async with world.database.transaction() as transaction:
            await world.deliveries.cancel(transaction, KIND, ["b"])
        world.provider.gate.set()
        await world.clock.until(lambda: len(world.books) == 2)
    assert world.provider.calls == ["a"]
    assert world.books["b"] == (Refused("cancelled"),)


async def test_m6_an_unknown_call_is_asked_about_and_never_repeated_blindly() -> None:
    """M6, B49: the charge was made and the answer lost: a query finds it, nobody pays twice."""
    world = Payments()

    def lose_the_answer(delivery: Delivery) -> Outcome:
        world.provider.done[delivery.key] = 1
        return Unknown("connection reset")

    world.provider.answer = lose_the_answer
    await world.owe("a")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: bool(world.books))
    assert world.books["a"] == (Delivered(b"receipt"),)
    assert world.provider.calls == ["a"]
    assert world.provider.queries == ["a"]


async def test_m6_not_found_counts_only_when_the_call_is_surely_over() -> None:
    """M6: before timeout + margin "not found" may mean "not yet": the same key waits for it."""
    world = Payments(timeout_seconds=5, margin_seconds=2)
    answers = [Unknown("timeout")]
    world.provider.answer = lambda _delivery: answers.pop() if answers else None
    await world.owe("a")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: bool(world.provider.queries))
        await world.clock.settle()
        asked_again_at = world.row("a").next_attempt_at - world.clock.now()
        assert asked_again_at + timedelta(seconds=world.clock.monotonic()) == timedelta(seconds=7)
        await world.clock.advance(7.0 - world.clock.monotonic() - 0.1)
        assert world.provider.calls == ["a"]
        await world.clock.until(lambda: bool(world.books), within_seconds=3.0)
    assert world.provider.calls == ["a", "a"]
    assert 7.0 <= world.clock.monotonic() < 7.3


@pytest.mark.parametrize("mark", ["deadline", "cancelled"])
async def test_m6_a_call_that_may_have_worked_is_asked_about_before_it_is_refused(
    mark: str,
) -> None:
    """M2, M6: neither deadline nor cancel may turn a captured payment into a refusal."""
    world = Payments()

    def lose_the_answer(delivery: Delivery) -> Outcome:
        world.provider.done[delivery.key] = 1
        return Unknown("connection reset")

    world.provider.answer = lose_the_answer
    not_after = world.clock.now() + timedelta(seconds=0.001) if mark == "deadline" else None
    await world.owe("a", not_after=not_after)
    async with world.running(world.deliverer):
        await world.clock.until(lambda: bool(world.provider.calls))
        async with world.database.transaction() as transaction:
            if mark == "cancelled":
                await world.deliveries.cancel(transaction, KIND, ["a"])
        await world.clock.until(lambda: bool(world.books))
    assert world.books["a"] == (Delivered(b"receipt"),)


async def test_m2_m6_what_was_never_called_is_refused_once_that_is_sure() -> None:
    """M2, M6: unknown, then past its deadline, then "not found": refused, not called again."""
    world = Payments()
    world.provider.answer = lambda _delivery: Unknown("timeout")
    await world.owe("a", not_after=world.clock.now() + timedelta(seconds=1))
    async with world.running(world.deliverer):
        await world.clock.until(lambda: bool(world.books))
    assert world.books["a"] == (Refused("deadline"),)
    assert world.provider.calls == ["a"]


async def test_m6_unknown_to_the_end_is_parked_and_never_a_refusal() -> None:
    """M6: at the last attempt it waits for an operator; nothing is published."""
    world = Payments(attempts_max=3)
    world.provider.answer = lambda _delivery: Unknown("timeout")
    world.provider.query_answer = lambda _delivery: Unknown("key in use")
    await world.owe("a")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: world.state("a") is DeliveryState.PARKED)
        await world.clock.advance(60.0)
    assert world.books == {}
    assert len(world.provider.calls) == 1
    assert len(world.provider.queries) == 2


async def test_a_query_that_does_not_get_through_is_no_attempt() -> None:
    """C6, B35: a provider that is down for long is asked for as long as it takes."""
    world = Payments(attempts_max=2)
    lost: list[str] = []

    def lose_the_answer(delivery: Delivery) -> Outcome:
        world.provider.done[delivery.key] = 1
        lost.append(delivery.key)
        return Unknown("connection reset")

    def down(_delivery: Delivery) -> QueryOutcome | None:
        if world.clock.monotonic() < 300:
            raise TransientError("connection refused")
        return None

    world.provider.answer, world.provider.query_answer = lose_the_answer, down
    await world.owe("a")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: bool(world.books))
    assert world.books["a"] == (Delivered(b"receipt"),)
    assert lost == ["a"]


async def test_failed_calls_are_repeated_with_backoff_and_then_parked() -> None:
    """M6: where tries are bounded, what used them up is visible to an operator."""
    world = Payments(failures_max=4)
    times: list[float] = []

    def fail(_delivery: Delivery) -> Outcome:
        times.append(world.clock.monotonic())
        return Failed("503", retry_after_seconds=3.0 if len(times) == 1 else None)

    world.provider.answer = fail
    await world.owe("a")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: world.state("a") is DeliveryState.PARKED)
    first, *pauses = (later - earlier for earlier, later in pairwise(times))
    assert first >= 3.0, "as long as the other side asked for"
    # Each may be twice as long as the one before; the jitter is a half here.
    assert pauses == pytest.approx([0.5 * 2.0, 0.5 * 4.0], abs=0.5)
    assert "attempt 4 of 4" in world.row("a").reason


async def test_c6_an_outage_parks_nothing_however_long_it_is() -> None:
    """C6: a refund or a mail that got nowhere is owed still, and made when it can be."""
    world = Payments(attempts_max=6)
    back_at = 3_600.0

    def answer(delivery: Delivery) -> Outcome | None:
        if world.clock.monotonic() < back_at:
            return Failed("503")
        if len(world.provider.queries) < 2:
            world.provider.done[delivery.key] = 1
            return Unknown("timeout")
        return None

    world.provider.answer = answer
    world.provider.query_answer = lambda _: (
        Unknown("key in use") if len(world.provider.queries) < 2 else None
    )
    await world.owe("a")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: bool(world.books), within_seconds=2 * back_at)
    assert world.books == {"a": (Delivered(b"receipt"),)}
    assert len(world.provider.calls) > 10 * world.policy.attempts_max
    assert len(world.provider.queries) == 2


async def test_m2_a_call_with_a_deadline_is_tried_until_then() -> None:
    """M2, C6: a provider that is down longer than the attempts last strands no order."""
    world = Payments(attempts_max=3)
    back_at = 400.0
    world.provider.answer = lambda _: Failed("503") if world.clock.monotonic() < back_at else None
    await world.owe("a", not_after=world.clock.now() + timedelta(seconds=600))
    await world.owe("b", not_after=world.clock.now() + timedelta(seconds=200))
    async with world.running(world.deliverer):
        await world.clock.until(lambda: len(world.books) == 2)
    assert world.books == {"a": (Delivered(b"receipt"),), "b": (Refused("deadline"),)}
    assert world.clock.monotonic() < back_at + 20


async def test_an_open_breaker_spends_time_and_no_attempt() -> None:
    """Design: while the breaker is open no call is made, and none is counted."""
    world = Payments(attempts_max=1_000)
    down = True
    world.provider.answer = lambda _delivery: Failed("503") if down else None
    await world.owe(*[f"k{n}" for n in range(12)])
    async with world.running(world.deliverer):
        await world.clock.until(lambda: len(world.provider.calls) >= 10)
        await world.clock.advance(300.0)
        assert len(world.provider.calls) < 200
        calls = len(world.provider.calls)
        assert sum(row.delivery.attempts for row in world.deliveries.rows) == calls
        down = False
        await world.clock.until(lambda: world.all_in(DeliveryState.DELIVERED), within_seconds=60)
        assert len(world.provider.calls) - calls <= 12 + 3


async def test_business_refusals_do_not_open_the_breaker() -> None:
    """promises.md, Overload 1: a decline is a success of the transport."""
    world = Payments()
    world.provider.answer = lambda _delivery: Refused("payment_refused")
    await world.owe(*[f"k{n}" for n in range(30)])
    async with world.running(world.deliverer):
        await world.clock.until(lambda: world.all_in(DeliveryState.REFUSED), within_seconds=2)
    assert len(world.provider.calls) == 30
    assert set(world.books.values()) == {(Refused("payment_refused"),)}


@pytest.mark.parametrize("asks", [True, False])
async def test_m6_a_call_that_raises_or_hangs_is_unknown(*, asks: bool) -> None:
    """M6: whatever the client raises, the call may have worked."""
    world = Payments(asks=asks, timeout_seconds=0.02, margin_seconds=0.01, lease_seconds=30)
    tries = 0

    async def call(delivery: Delivery) -> Outcome:
        nonlocal tries
        tries += 1
        world.provider.done[delivery.key] = 1
        if tries == 1:
            raise ConnectionResetError
        if tries == 2:
            await asyncio.Event().wait()
        return Delivered(b"second")

    world.provider.call = call  # type: ignore[method-assign] # a client that raises
    world.deliverer = world.new_deliverer()
    await world.owe("a")
    async with world.running(world.deliverer):
        async with asyncio.timeout(10):
            while not world.books:
                await world.clock.advance(1.0)
                await asyncio.sleep(0.005)
    assert tries == (1 if asks else 3)
    assert world.books["a"] == (Delivered(b"receipt" if asks else b"second"),)


async def test_m6_an_expired_lease_means_ask_first() -> None:
    """M6: a process that died in the middle of a call: the next one asks before it calls."""
    world = Payments()
    world.provider.gate = asyncio.Event()
    dead = world.new_deliverer()
    task = asyncio.create_task(dead.run())
    await world.owe("a", through=dead)
    await world.clock.until(lambda: world.provider.calls == ["a"])
    world.provider.done["a"] = 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    async with world.running(world.deliverer):
        await world.clock.advance(world.policy.lease_seconds - 1.0)
        assert world.provider.queries == []
        await world.clock.until(lambda: bool(world.books), within_seconds=3.0)
    assert world.provider.calls == ["a"]
    assert world.books["a"] == (Delivered(b"receipt"),)


async def test_m6_no_call_begins_under_a_lease_that_ends_too_soon() -> None:
    """M6: a call that waited in the queue for too long is handed back and claimed anew."""
    world = Payments(concurrency_max=1, timeout_seconds=5, margin_seconds=2, lease_seconds=10)
    world.provider.gate = asyncio.Event()
    async with world.running(world.deliverer):
        await world.owe("a", "b", through=world.deliverer)
        await world.clock.until(lambda: world.provider.calls == ["a"])
        await world.clock.advance(3.5)
        world.provider.gate.set()
        begun: list[tuple[float, Any]] = []
        world.provider.answer = lambda delivery: begun.append(
            (world.clock.monotonic(), world.row(delivery.key).lease_until)
        )
        await world.clock.until(lambda: len(world.books) == 2)
    (_, (_at, lease_until)) = begun
    assert lease_until >= world.clock.now() + timedelta(seconds=7)


async def test_m6_captured_is_recorded_whatever_the_token() -> None:
    """M6: the lease ran out during a settlement that the database delayed: still booked once."""
    world = Payments()
    down = False

    def fault(point: str) -> None:
        if down and point == "begin":
            raise TransientError("database restarts")

    world.fault = fault
    world.provider.gate = asyncio.Event()
    async with world.running(world.deliverer):
        await world.owe("a", through=world.deliverer)
        await world.clock.settle()
        down = True
        world.provider.gate.set()
        await world.clock.advance(120.0)
        assert world.books == {}
        down = False
        await world.clock.until(lambda: bool(world.books), within_seconds=11.0)
        await world.clock.advance(60.0)
    assert world.books == {"a": (Delivered(b"receipt"),)}
    assert world.provider.calls == ["a"]
    assert world.provider.queries == []


async def test_a_settlement_whose_answer_is_lost_is_booked_once() -> None:
    """M6: the repetition finds the outcome settled and does not apply it again."""
    world = Payments()
    lost = 0

    def fault(point: str) -> None:
        nonlocal lost
        if point == "committed" and world.books and not lost:
            lost += 1
            raise OutcomeUnknownError("connection reset")

    world.fault = fault
    async with world.running(world.deliverer):
        await world.owe("a", through=world.deliverer)
        await world.clock.until(lambda: lost == 1)
        await world.clock.advance(60.0)
    assert world.books == {"a": (Delivered(b"receipt"),)}


async def test_outcomes_that_come_during_a_settlement_are_the_next_one() -> None:
    """Settlement is batched by nature: one transaction in flight, no timer."""
    world = Payments()
    go_on = asyncio.Event()
    lock_held = asyncio.Event()

    async def hold() -> None:
        async with world.database.transaction() as transaction:
            await transaction.lock(DELIVERIES, (KIND, "k0"))
            lock_held.set()
            await go_on.wait()

    async with world.running(world.deliverer):
        keys = [f"k{n}" for n in range(30)]
        await world.owe(*keys[:1], through=world.deliverer)
        holder = asyncio.create_task(hold())
        await lock_held.wait()
        await world.clock.settle()
        await world.owe(*keys[1:], through=world.deliverer)
        await world.clock.settle()
        assert world.books == {}
        go_on.set()
        await holder
        await world.clock.until(lambda: len(world.books) == 30)
    assert world.settlements == [1, 29]


async def test_an_outcome_that_cannot_be_applied_is_parked_alone() -> None:
    """M6: a bug in the user's settlement stops one delivery, visibly, and no other."""
    world = Payments()

    def refuse(settled: Sequence[tuple[Delivery, Settlement]]) -> None:
        if any(delivery.key == "k3" for delivery, _ in settled):
            raise KeyError("no such payment")

    world.refuse_to_settle = refuse
    await world.owe(*[f"k{n}" for n in range(8)])
    async with world.running(world.deliverer):
        await world.clock.until(lambda: len(world.books) == 7)
        await world.clock.settle()
    assert world.state("k3") is DeliveryState.PARKED
    assert "not applied" in world.row("k3").reason
    assert all(len(booked) == 1 for booked in world.books.values())


async def test_c6_a_constraint_must_refuse_an_outcome_alone_twice() -> None:
    """C6: as for messages; a neighbour's row may be the cause."""
    world = Payments()
    alone = 0

    def refuse(settled: Sequence[tuple[Delivery, Settlement]]) -> None:
        nonlocal alone
        if any(delivery.key == "k1" for delivery, _ in settled):
            alone += len(settled) == 1
            if alone < 2:
                raise DomainConstraintError("payments_amount_check")

    world.refuse_to_settle = refuse
    await world.owe("k0", "k1", "k2")
    async with world.running(world.deliverer):
        await world.clock.until(lambda: len(world.books) == 3)
    assert world.all_in(DeliveryState.DELIVERED)


async def test_an_operators_verdict_is_settled_without_a_call() -> None:
    """M6: what an operator found out about a parked delivery is applied as an outcome."""
    world = Payments()
    await world.owe("a", "b")
    for key, verdict in {"a": Delivered(b"seen at the bank"), "b": Refused("fraud")}.items():
        row = world.row(key)
        judged = msgspec.structs.replace(row.delivery, verdict=verdict, ask_first=True)
        world.database.tables[DELIVERIES][KIND, key] = msgspec.structs.replace(row, delivery=judged)
    async with world.running(world.deliverer):
        await world.clock.until(lambda: len(world.books) == 2)
    assert world.books == {"a": (Delivered(b"seen at the bank"),), "b": (Refused("fraud"),)}
    assert world.provider.calls == world.provider.queries == []


async def test_concurrency_and_queue_are_bounded() -> None:
    """Limits on everything: calls at once, and deliveries held in memory."""
    world = Payments(concurrency_max=3, queue_max=5)
    world.provider.gate = asyncio.Event()
    async with world.running(world.deliverer):
        await world.owe(*[f"k{n}" for n in range(5)], through=world.deliverer)
        await world.owe(*[f"k{n}" for n in range(5, 20)], through=world.deliverer)
        await world.clock.settle()
        leased = [row for row in world.deliveries.rows if row.lease_token is not None]
        assert len(leased) == 5
        world.provider.gate.set()
        await world.clock.until(lambda: world.all_in(DeliveryState.DELIVERED), within_seconds=5)
    assert world.provider.running_max == 3
    assert len(world.provider.calls) == 20


async def test_p11_stop_finishes_calls_in_flight_and_hands_back_the_rest() -> None:
    """P11: a drain loses no outcome, and what was not begun is due for another process at once."""
    world = Payments(concurrency_max=1)
    world.provider.gate = asyncio.Event()
    task = asyncio.create_task(world.deliverer.run())
    await world.owe("a", "b", through=world.deliverer)
    await world.clock.until(lambda: world.provider.calls == ["a"])
    world.deliverer.stop()
    await world.clock.settle()
    assert not task.done()
    world.provider.gate.set()
    await world.clock.until(task.done)
    assert world.books.keys() == {"a"}
    assert world.row("b").lease_token is None
    assert not world.row("b").delivery.ask_first
    async with world.running(world.new_deliverer()):
        await world.clock.until(lambda: len(world.books) == 2, within_seconds=0.1)
    assert world.provider.queries == []


async def test_p11_what_commits_during_the_drain_is_handed_back_too() -> None:
    """P11: a unit that began before the stop owes a call after it: due at once, not in a lease."""
    world = Payments()
    world.provider.gate = asyncio.Event()
    task = asyncio.create_task(world.deliverer.run())
    await world.owe("a", through=world.deliverer)
    await world.clock.until(lambda: world.provider.calls == ["a"])
    async with world.database.transaction() as transaction:
        late = Delivery(id=new_id(), kind=KIND, key="b", request=b"{}")
        await world.deliverer.owe(world.ports.unit(transaction), [late])
        world.deliverer.stop()
        await world.clock.settle()
    await world.clock.settle()
    world.provider.gate.set()
    await world.clock.until(task.done)
    assert world.provider.calls == ["a"]
    assert world.row("b").lease_token is None


async def test_a_database_that_is_away_delays_calls_and_loses_none() -> None:
    """C6: claims fail for minutes, then all is delivered; readiness sees the silence."""
    world = Payments()
    await world.owe(*[f"k{n}" for n in range(5)])
    down = True

    def fault(point: str) -> None:
        if down and point == "begin":
            raise TransientError("connection refused")

    world.fault = fault
    async with world.running(world.deliverer):
        await world.clock.advance(180.0)
        assert world.deliverer.progress_age_seconds > 100
        down = False
        await world.clock.until(lambda: world.all_in(DeliveryState.DELIVERED), within_seconds=11)
    assert sorted(world.provider.calls) == [f"k{n}" for n in range(5)]


async def test_c3_the_users_rows_are_locked_before_the_deliveries() -> None:
    """C3: `lock` comes first, so that a settlement and a cancel meet in one order."""
    world = Payments()
    order: list[str] = []

    async def lock(unit: UnitOfWork, deliveries: Sequence[Delivery]) -> None:
        memory = unit.transaction
        assert isinstance(memory, MemoryTransaction)
        order.extend(f"payment {each.key}" for each in deliveries)
        order.extend(
            f"delivery {key}" for table, key in memory.database.locks if table == DELIVERIES
        )

    deliverer = Deliverer(
        KIND,
        ports=world.ports,
        deliveries=world.deliveries,
        call=world.provider.call,
        settled=world.settled,
        lock=lock,
    )
    async with world.running(deliverer):
        await world.owe("a", through=deliverer)
        await world.clock.until(lambda: bool(world.books))
    assert order == ["payment a"]


async def test_m6_no_call_begins_under_a_lease_that_the_insert_used_up() -> None:
    """M6: an insert whose answer is late leaves less of the lease, not as much as a fast one."""
    world = Payments()

    class LateAnswers(MemoryDeliveries):
        """A table behind a slow line."""

        async def add(self, *given: Any, **named: Any) -> set[UUID]:  # noqa: ANN401 - as the port's
            new = await super().add(*given, **named)
            await world.clock.sleep(25.0)
            return new

    world.deliveries = LateAnswers(world.database, world.clock)
    deliverer = world.new_deliverer()
    left: list[timedelta] = []
    world.provider.answer = lambda delivery: left.append(
        world.row(delivery.key).lease_until - world.clock.now()
    )
    async with world.running(deliverer):
        owing = asyncio.create_task(world.owe("a", through=deliverer))
        await world.clock.until(lambda: bool(world.books))
        await owing
    assert left[0] >= timedelta(seconds=7)


async def test_a_call_that_a_crash_ended_is_asked_about_when_its_lease_is_over() -> None:
    """B22: a deliverer that crashed and was started again owes what it had in hand before."""
    world = Payments()
    world.provider.gate = asyncio.Event()
    crashes = 0

    def fault(point: str) -> None:
        nonlocal crashes
        if point == "begin" and world.provider.calls and not crashes:
            crashes += 1
            raise LookupError("a bug")

    world.fault = fault
    task = asyncio.create_task(world.deliverer.run())
    await world.owe("a", through=world.deliverer)
    await world.clock.until(task.done)
    assert isinstance(task.exception(), LookupError)
    assert world.provider.calls == ["a"]
    world.provider.gate.set()
    async with world.running(world.deliverer):
        await world.clock.until(lambda: bool(world.books), within_seconds=45.0)
    assert world.provider.queries[0] == "a", "the first call may have worked"


async def test_a_retry_that_was_claimed_before_its_storing_was_known_is_not_lost() -> None:
    """C14: the COMMIT that frees a row, and a claim of it, may be answered in either order."""
    world = Payments()
    answered = asyncio.Event()

    class LateAnswers:
        """A database whose COMMIT is done before the client hears of it."""

        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Any]:
            async with world.database.transaction() as transaction:
                yield transaction
            await answered.wait()

    deliverer = Deliverer(
        KIND,
        ports=replace(world.ports, database=LateAnswers()),  # type: ignore[arg-type] # a part of it
        deliveries=world.deliveries,
        call=world.provider.call,
        query=world.provider.query,
        settled=world.settled,
    )
    answers = [Failed("503")]
    world.provider.answer = lambda _delivery: answers.pop() if answers else None
    await world.owe("a")
    async with world.running(deliverer):
        await world.clock.until(lambda: world.row("a").delivery.attempts == 1)
        await world.clock.until(lambda: world.row("a").lease_token is not None, within_seconds=2)
        answered.set()
        await world.clock.until(lambda: bool(world.books), within_seconds=3.0)
    assert world.provider.calls == ["a", "a"]
    assert world.provider.queries == [], "nothing of unknown outcome was called"


async def test_m6_not_found_waits_for_the_last_call_whichever_process_made_it() -> None:
    """M6: what this process remembers of its own call says nothing of another's after it."""
    world = Payments(timeout_seconds=5, margin_seconds=2)
    called_at: list[float] = []

    def lose(_delivery: Delivery) -> Outcome:
        called_at.append(world.clock.monotonic())
        return Unknown("timeout")

    world.provider.answer = lose
    other = world.new_deliverer()
    await world.owe("a")
    for deliverer, calls in ((world.deliverer, 1), (other, 2), (world.deliverer, 3)):
        async with world.running(deliverer):
            await world.clock.until(lambda calls=calls: len(called_at) == calls)  # type: ignore[misc] # bound now
            await world.clock.settle()
    assert called_at[1] - called_at[0] >= 7.0
    assert called_at[2] - called_at[1] >= 7.0


async def test_m6_a_stale_reading_in_the_queue_gives_way_to_a_newer_claim() -> None:
    """M6: its lease ran out in the queue and another process called it: ask before calling."""
    world = Payments(concurrency_max=1)
    world.provider.gate = asyncio.Event()
    async with world.running(world.deliverer):
        await world.owe("a", "b", through=world.deliverer)
        await world.clock.until(lambda: world.provider.calls == ["a"])
        await world.clock.advance(world.policy.lease_seconds + 2.0)
        world.provider.done["b"] = 1  # by a process that held it and died
        world.provider.gate.set()
        await world.clock.until(lambda: len(world.books) == 2, within_seconds=2.0)
    assert world.provider.calls == ["a"]
    assert world.provider.queries == ["b"]


async def test_m6_a_call_that_returns_no_outcome_is_unknown() -> None:
    """M6, B7: a client that forgets to return stops one delivery, not its whole kind."""
    world = Payments()

    async def call(delivery: Delivery) -> Outcome:
        world.provider.calls.append(delivery.key)
        world.provider.done[delivery.key] = 1
        return None  # type: ignore[return-value] # the bug

    world.provider.call = call  # type: ignore[method-assign] # as above
    deliverer = world.new_deliverer()
    await world.owe("a")
    async with world.running(deliverer):
        await world.clock.until(lambda: bool(world.books), within_seconds=10)
    assert world.provider.calls == ["a"]
    assert world.provider.queries == ["a"]

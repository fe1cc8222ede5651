"""Handlers that take one message at a time: 1 + 3 tries, and only the failing key waits (C7)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import (
    CONSUMER,
    Added,
    World,
    amount_of,
    apply,
    broken,
    keys_of_one_lane,
)

from waybill.messaging.adapters.memory.dead_letters import Verdict
from waybill.messaging.core.errors import (
    ConfigurationError,
    DomainConstraintError,
    PermanentError,
    TransientError,
)
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX
from waybill.messaging.runtime.consumer import ConsumerState
from waybill.messaging.runtime.each import each
from waybill.messaging.runtime.policy import ConsumerPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Transaction
    from waybill.messaging.core.unit import Received, UnitOfWork


class Flaky:
    """A per-message handler that fails so many times on some amounts, with an error of choice."""

    def __init__(self, failures: dict[int, int], error: type[Exception] = OSError) -> None:
        self.left = Counter(failures)
        self.error = error
        self.tries: Counter[int] = Counter()

    async def __call__(self, unit: UnitOfWork, received: Received) -> None:
        amount = amount_of(received)
        self.tries[amount] += 1
        await apply(unit, received)
        if self.left[amount] > 0:
            self.left[amount] -= 1
            raise self.error("try again")


ALWAYS = 1_000


async def test_c7_a_failing_message_is_tried_four_times_a_second_apart() -> None:
    """C7: 1 + 3 tries for impure handlers, then the dead letter."""
    flaky = Flaky({1: ALWAYS})
    world = World(handler=each({Added: flaky}))
    messages = world.amounts(count=1)
    await world.feed(messages)
    async with world.running(world.consumer):
        for tries in (1, 2, 3):
            await world.clock.settle()
            assert flaky.tries[1] == tries
            assert world.letters == []
            await world.clock.advance(0.9)
            assert flaky.tries[1] == tries
            await world.clock.advance(0.1)
        await world.clock.settle()
        assert world.letters == [(messages[0].id, Verdict.OPEN)]
    assert flaky.tries[1] == 4
    assert world.effects == {}


async def test_c7_a_message_that_recovers_is_applied_once() -> None:
    """C7: what the failed tries wrote is gone; the one that worked counts."""
    flaky = Flaky({1: 3})
    world = World(handler=each({Added: flaky}))
    messages = world.amounts(count=1)
    await world.consume(messages)
    assert world.effects == {messages[0].id: 1}
    assert world.letters == []


async def test_c7_only_the_failing_key_waits() -> None:
    """C7: before the first pause all other messages of the batch are committed."""
    flaky = Flaky({2: ALWAYS})
    world = World(handler=each({Added: flaky}))
    key, *others = keys_of_one_lane(4)
    messages = [
        world.message(Added(place, amount), key=place)
        for amount, place in enumerate([others[0], key, others[1], key, others[2]], start=1)
    ]
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.settle()
        assert set(world.effects) == {messages[0].id, messages[2].id, messages[4].id}
        assert world.stored_position(CONSUMER, 0) == 0
        await world.clock.until(lambda: world.done(messages), within_seconds=3.5)
    assert world.letters == [(messages[1].id, Verdict.OPEN)]
    assert set(world.effects.values()) == {1}
    assert messages[3].id in world.effects


async def test_c7_the_messages_of_a_waiting_key_keep_their_order() -> None:
    """P4: what comes behind a message that waits, waits for it."""
    flaky = Flaky({1: 2})
    world = World(handler=each({Added: flaky}))
    messages = world.amounts(["", "", ""], key="k")
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: len(world.effects) == 3)
    assert [copy.causation_id for copy in world.copies] == [message.id for message in messages]


async def test_c7_keys_wait_at_the_same_time() -> None:
    """C7: ten failing keys take as long as one."""
    flaky = Flaky(dict.fromkeys(range(1, 11), 2))
    world = World(handler=each({Added: flaky}))
    messages = world.amounts(count=10)
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.done(messages), within_seconds=2.5)
    assert len(world.effects) == 10


async def test_c7_a_permanent_error_is_not_tried_again() -> None:
    """C7: a handler that says "permanent" is believed at once; nobody else is decided in vain."""
    flaky = Flaky({2: ALWAYS}, PermanentError)
    world = World(handler=each({Added: flaky}))
    messages = world.amounts(count=3)
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.settle()
        assert world.letters == [(messages[1].id, Verdict.OPEN)]
    assert world.clock.monotonic() == 0.0
    assert set(world.effects) == {messages[0].id, messages[2].id}


async def test_c6_a_transient_error_of_one_message_is_nobodys_attempt() -> None:
    """C6: an outage inside a handler rolls back the unit and is retried without limit."""
    flaky = Flaky({2: 20}, TransientError)
    world = World(handler=each({Added: flaky}))
    messages = world.amounts(count=3)
    await world.consume(messages)
    assert len(world.effects) == 3
    assert world.letters == []
    assert flaky.tries[2] == 21


async def test_c6_a_constraint_is_tried_as_often_as_anything_impure() -> None:
    """C6, C7: more than twice alone, so nothing more is asked of it."""
    flaky = Flaky({1: 2}, DomainConstraintError)
    world = World(handler=each({Added: flaky}))
    messages = world.amounts(count=1)
    await world.consume(messages)
    assert world.effects == {messages[0].id: 1}


async def test_c6_a_constraint_at_commit_must_refuse_a_message_alone_twice() -> None:
    """C6: a deferred constraint names nobody; a neighbour's row that goes may be the cause."""
    flaky = Flaky({1: 1})
    world = World(handler=each({Added: flaky}))
    refusals = 0

    def fault(point: str) -> None:
        nonlocal refusals
        if point == "commit" and flaky.tries[1] and refusals < 2:
            refusals += 1
            raise DomainConstraintError("deferred")

    world.fault = fault
    messages = world.amounts(count=3)
    await world.consume(messages)
    assert world.letters == []
    assert world.effects == {message.id: 1 for message in messages}


async def test_pure_handlers_are_tried_once() -> None:
    """C7: with `tries_max=1` an exception is the message's dead letter at once, named."""
    flaky = Flaky({2: ALWAYS})
    world = World(handler=each({Added: flaky}, tries_max=1))
    messages = world.amounts(count=3)
    await world.consume(messages)
    assert world.letters == [(messages[1].id, Verdict.OPEN)]
    assert flaky.tries == {1: 2, 2: 1, 3: 1}


async def test_c10_a_handler_that_fails_on_everything_pauses() -> None:
    """C10: a bad deployment of impure handlers dead-letters nothing."""
    flaky = Flaky(dict.fromkeys(range(1, 31), ALWAYS))
    world = World(ConsumerPolicy(same_error_count_min=5), handler=each({Added: flaky}))
    messages = world.amounts(count=30)
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.PAUSED)
        await world.clock.advance(60.0)
        assert world.letters == []
        flaky.left.clear()
        await world.clock.until(lambda: world.done(messages))
    assert len(world.effects) == 30


def test_tries_below_one_are_refused() -> None:
    """A handler that may never be called is a mistake of set-up."""
    with pytest.raises(ConfigurationError, match="tries_max"):
        each({}, tries_max=0)


async def test_c7_an_error_that_names_nobody_is_searched_for_message_by_message() -> None:
    """C5, C7, L4: while a key waits, a neighbour that only fails at the flush is found.

    And what was known to be a dead letter before the search is one behind it.
    """

    async def handle(unit: UnitOfWork, received: Received) -> None:
        await apply(unit, received)
        if amount_of(received) == 1:
            raise OSError("try again")
        if amount_of(received) in {3, 4}:
            note = "x" * (MESSAGE_BYTES_MAX // 2)
            for _ in range(2 if amount_of(received) == 3 else 1):
                unit.transaction.buffer(too_much).append(note)

    async def too_much(_transaction: Transaction, notes: Sequence[str]) -> None:
        if len(notes) > 1:
            raise PermanentError("more than a flush takes")

    world = World(handler=each({Added: handle}))
    messages = world.amounts(count=6)
    messages[4] = broken(messages[4])
    await world.consume(messages)
    assert set(world.effects) == {messages[1].id, messages[3].id, messages[5].id}
    refused = {messages[0].id, messages[2].id, messages[4].id}
    assert {letter for letter, _ in world.letters} == refused


async def test_c7_a_permanent_error_while_another_key_waits() -> None:
    """C7: a message that is refused for good does not wait for the one that is tried again."""
    flaky, refused = Flaky({1: 2}), Flaky({2: ALWAYS}, PermanentError)

    async def handle(unit: UnitOfWork, received: Received) -> None:
        await (refused if amount_of(received) == 2 else flaky)(unit, received)

    world = World(handler=each({Added: handle}))
    messages = world.amounts(count=3)
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.settle()
        assert world.letters == [(messages[1].id, Verdict.OPEN)]
        assert set(world.effects) == {messages[2].id}
        await world.clock.until(lambda: world.done(messages))
    assert set(world.effects) == {messages[0].id, messages[2].id}


async def test_c7_a_waiting_message_may_turn_out_permanent() -> None:
    """C7: the retry decides anew: what it calls permanent is dead at once, its key goes on."""
    tries: Counter[int] = Counter()

    async def handle(unit: UnitOfWork, received: Received) -> None:
        await apply(unit, received)
        tries[amount_of(received)] += 1
        if amount_of(received) == 1:
            raise (OSError if tries[1] == 1 else PermanentError)("no")

    world = World(handler=each({Added: handle}))
    messages = world.amounts(["", ""], key="k")
    await world.consume(messages)
    assert tries[1] == 2
    assert world.letters == [(messages[0].id, Verdict.OPEN)]
    assert set(world.effects) == {messages[1].id}

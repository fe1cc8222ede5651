"""The consumer under everything at once: each message's effect once or a dead letter, in order."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import Added, World, apply, broken, keys_of_one_lane

from waybill.messaging.core.errors import (
    ConcurrencyConflictError,
    OutcomeUnknownError,
    PermanentError,
    TransientError,
)
from waybill.messaging.runtime.each import each
from waybill.messaging.runtime.policy import ConsumerPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Transaction
    from waybill.messaging.core.unit import Received, UnitOfWork

ROUNDS = 6
FAILURES_MAX = 3
"""A handler of one message at a time is asked four times before its message is a dead letter."""
NOTES = ["", "", "", "", "raises", "constraint", "shown", "bytes"]
MANY = 10_000


class Trouble:
    """A database and a handler that fail at random, as long as some are left."""

    def __init__(self, random: Random, left: int) -> None:
        self._random = random
        self.left = left
        self._failed: Counter[UUID] = Counter()

    def strikes(self, share: float) -> bool:
        """Whether it fails now."""
        if not self.left or self._random.random() >= share:
            return False
        self.left -= 1
        return True

    def database(self, point: str) -> None:
        """See World.fault: an outage, or a lost answer."""
        if not self.strikes(0.1):
            return
        if point == "committed":
            raise OutcomeUnknownError("the answer was lost")
        raise TransientError("an outage")

    def handler(self, received: Sequence[Received]) -> None:
        """See Ledger.mood: what is no message's fault, and an error that names its message."""
        self._struck()
        for one in received:
            if getattr(one.event, "note", "") == "raises" and self._random.random() < 0.5:
                raise PermanentError("named", message_ids=[one.message.id])

    def _struck(self) -> None:
        if self.strikes(0.05):
            raise TransientError("an outage of somebody else")
        if self.strikes(0.05):
            raise ConcurrencyConflictError("somebody was faster")

    async def one(self, unit: UnitOfWork, received: Received) -> None:
        """As a handler of one message at a time."""
        self._struck()
        message = received.message
        if self._failed[message.id] < FAILURES_MAX and self.strikes(0.1):
            self._failed[message.id] += 1
            raise OSError("try this one again")
        if getattr(received.event, "note", "") == "flush":
            unit.transaction.buffer(_refuse).append(message)
        await apply(unit, received)


async def _refuse(_transaction: Transaction, _messages: Sequence[Message]) -> None:
    raise PermanentError("more than a flush takes")


def some(world: World, random: Random, keys: Sequence[str], notes: Sequence[str]) -> list[Message]:
    """A few messages, poison among them."""
    made = []
    for _ in range(random.randrange(1, 12)):
        note = random.choice(notes)
        key = random.choice(keys)
        message = world.message(Added(key, 1, note), key=key)
        made.append(broken(message) if note == "bytes" else message)
    return made


@pytest.mark.parametrize("is_each", [False, True])
@pytest.mark.parametrize("seed", range(20))
async def test_each_message_has_its_effect_once_or_is_a_dead_letter(
    seed: int, *, is_each: bool
) -> None:
    """P1, P2, P4, C3 to C7: outages, lost answers, conflicts, crashes, poison and repeats."""
    random = Random(seed)  # noqa: S311 - a test's
    trouble = Trouble(random, left=25)
    policy = ConsumerPolicy(
        batch_size_max=random.choice([3, 20, 500]),
        dead_letters_max=MANY,
        same_error_count_min=MANY,
    )
    world = World(policy, each({Added: trouble.one}) if is_each else None)
    world.ledger.mood = trouble.handler
    world.fault = trouble.database
    keys = keys_of_one_lane(4)
    sent: list[Message] = []
    for _ in range(ROUNDS):
        messages = some(world, random, keys, [*NOTES, "flush"] if is_each else NOTES)
        repeats = random.sample(sent, k=min(len(sent), random.randrange(3)))
        await world.feed([*messages, *repeats])
        sent += messages
        async with world.running(world.consumer):
            await world.clock.advance(random.choice([0.0, 0.05, 1.0]))
        world.consumer = world.new_consumer()
    trouble.left = 0
    async with world.running(world.consumer):
        await world.clock.settle()
        await world.clock.until(lambda: world.done(sent), within_seconds=600.0)
    poison = {
        each.id for each in sent if each.value == b"\x00not json" or b'"note":"' in each.value
    }
    poison -= {each.id for each in sent if b'"note":""' in each.value}
    letters = Counter(id_ for id_, _ in world.letters)
    assert letters == Counter(dict.fromkeys(poison, 1))
    good = [message for message in sent if message.id not in poison]
    assert world.effects == {message.id: 1 for message in good}
    for key in keys:
        copies = [copy.causation_id for copy in world.copies if copy.key == key]
        assert copies == [message.id for message in good if message.key == key]

"""A relay over a log that answers whenever it likes: whatever runs in between, no order is lost."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.messaging.postgres.relay_world import RelayWorld, by_key, until
from tests.messaging.postgres.test_relay import same_lane

from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.core.errors import MessagingError, TransientError, UnsendableError
from waybill.messaging.core.ports import Written
from waybill.messaging.core.relay import HeldState, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Message, Record

ROUNDS = 40
YIELDS_MAX = 3
NEVER = b"never"
SAYS_NO = 0.1
"""Share of the writes that fail once."""


class LogThatDawdles:
    """See LogWriter. Gives way to the loop at random, before each record and before its answer."""

    def __init__(self, random: Random) -> None:
        self.arrived: list[Message] = []
        self.takes_now: set[UUID] = set()
        """What it refused once."""
        self._random = random
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: Counter[int] = Counter()
        self._ended: dict[int, int] = {}

    async def identity(self) -> str:
        """See LogWriter."""
        return "memory"

    async def write(self, records: Sequence[Record]) -> Written:
        """See LogWriter: who waits behind an error ends with it."""
        if self._refuses(records[0]):
            return Written(0, UnsendableError("never, as is plain to see"))
        lane = records[0].lane
        self._waiting[lane] += 1
        async with self._turns[lane]:
            written = Written(0, TransientError("one before it failed"))
            if not self._ended.get(lane):
                written = await self._written(records)
            if written.error is not None:
                # All who have come by the time of the answer.
                self._ended[lane] = self._waiting[lane] - 1
            self._waiting[lane] -= 1
            return written

    async def _written(self, records: Sequence[Record]) -> Written:
        for count, record in enumerate(records):
            await self._give_way()
            try:
                self._put(record)
            except MessagingError as error:
                await self._give_way()
                return Written(count, error)
        await self._give_way()
        return Written(len(records))

    def _put(self, record: Record) -> None:
        if self._refuses(record):
            raise UnsendableError("never")
        if self._random.random() < SAYS_NO:
            raise TransientError("not now")
        self.arrived.append(record.message)

    def _refuses(self, record: Record) -> bool:
        return record.message.value == NEVER and record.message.id not in self.takes_now

    async def _give_way(self) -> None:
        for _ in range(self._random.randrange(YIELDS_MAX + 1)):
            await asyncio.sleep(0)

    async def purge(self) -> None:
        """See LogWriter: nothing waits here for longer than a moment."""

    async def close(self) -> None:
        """See LogWriter."""


@pytest.mark.parametrize("seed", range(8))
async def test_keys_keep_their_order_whatever_runs_in_between(world: RelayWorld, seed: int) -> None:
    """Protocol L2, L4: errors, held records, commits that are heard and commits that are read."""
    random = Random(seed)  # noqa: S311 - a test's
    log = LogThatDawdles(random)
    keys = ["k", *same_lane("k", 2), "other"]
    heard, read = world.outbox, PostgresOutbox()
    relay = await world.start(writer=log)
    for number in range(ROUNDS):
        world.outbox = heard if random.random() < 0.8 else read
        value = NEVER if number and number % 15 == 0 else b"{}"
        await world.publish(random.choice(keys), value=value)
        for _ in range(random.randrange(20)):
            await asyncio.sleep(0)
    await world.drained()
    await world.stop(relay)
    stuck: set[str] = set()
    held = []
    for message in world.sent:
        if message.value == NEVER or message.key in stuck:
            stuck.add(message.key)
            held.append(message)
    assert by_key(log.arrived) == by_key(world.sent, held)
    assert Counter(key for key, _ in await world.held()) == Counter(m.key for m in held)


class Operator:
    """Looks at what is held, and says at random what is to become of it."""

    def __init__(self, world: RelayWorld, log: LogThatDawdles, random: Random) -> None:
        self.skipped: list[Message] = []
        self._world = world
        self._log = log
        self._random = random

    async def look(self) -> bool:
        """Judge one record; whether anything is held."""
        infos = await self._world.held_infos()
        waiting = [i.id for i in infos if i.state == HeldState.HELD and i.verdict is None]
        if waiting:
            id_ = self._random.choice(waiting)
            (message,) = (each for each in self._world.sent if each.id == id_)
            if self._random.random() < 0.7:
                self._log.takes_now.add(id_)
                await self._world.judge(message, Verdict.RESUME)
            else:
                self.skipped.append(message)
                await self._world.judge(message, Verdict.SKIP)
        return bool(infos)

    async def is_done(self) -> bool:
        """Whether all is in the log or was skipped."""
        return await self._world.is_drained() and not await self.look()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
async def test_neither_operators_nor_changing_owners_cost_the_order(
    world: RelayWorld, seed: int
) -> None:
    """Protocol L2 to L4: held records are resumed or skipped, relays come and go, all is sent."""
    random = Random(seed)  # noqa: S311 - a test's
    log = LogThatDawdles(random)
    operator = Operator(world, log, random)
    keys = ["k", *same_lane("k", 2), "other", *same_lane("other", 1)]
    relays = [await world.start(writer=log)]
    for number in range(60):
        value = NEVER if number % 9 == 8 else b"{}"
        await world.publish(*random.choices(keys, k=random.choice([1, 1, 2, 4])), value=value)
        act = random.random()
        if act < 0.1:
            await operator.look()
        elif act < 0.14 and len(relays) < 3:
            relays.append(await world.start(writer=log))
        elif act < 0.18 and len(relays) > 1:
            await world.stop(relays.pop(random.randrange(len(relays))))
        elif act < 0.2:
            await world.rewind()
        for _ in range(random.randrange(20)):
            await asyncio.sleep(0)
    await until(operator.is_done)
    for relay in relays:
        await world.stop(relay)
    # A rewind sends what was skipped again, if the log takes it by then.
    skipped = [each for each in operator.skipped if each not in log.arrived]
    assert by_key(log.arrived) == by_key(world.sent, skipped)

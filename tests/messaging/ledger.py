"""What the runtime's tests consume: amounts for accounts, folded into balances in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from waybill.messaging.adapters.memory import MemoryTransaction
from waybill.messaging.core.codec import EventType, JsonCodec
from waybill.messaging.core.errors import DomainConstraintError
from waybill.messaging.core.lanes import lane_of
from waybill.messaging.runtime.consumer import Consumer
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.testing.memory_service import MemoryService, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from waybill.messaging.adapters.memory.dead_letters import Verdict
    from waybill.messaging.core.message import Message
    from waybill.messaging.core.unit import Received, UnitOfWork

CONSUMER = "ledger"
TOPIC = "amounts"
EFFECTS = "effects"
BALANCES = "balances"


class Added(msgspec.Struct, frozen=True):
    """An amount for an account. The tests' poison is a `note` that the handler raises on."""

    account: str
    amount: int
    note: str = ""


class Closed(msgspec.Struct, frozen=True):
    """A type on the same topic that the ledger does not subscribe to."""

    account: str


class Copied(msgspec.Struct, frozen=True):
    """What the ledger publishes for each amount."""

    account: str
    amount: int


CODEC = JsonCodec(
    [
        EventType(Added, TOPIC, "Added", version=2, upcasts={1: lambda data: data["lost"]}),  # type: ignore[dict-item,return-value] # an upcast with a bug
        EventType(Closed, TOPIC, "Closed"),
        EventType(Copied, "copies", "Copied"),
    ]
)


class Ledger:
    """The handler. Balances are loaded, folded and saved set-wise; effects count each id."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        """The amounts of every attempt, also of those that rolled back."""
        self.mood: Callable[[Sequence[Received]], None] = lambda _received: None

    async def __call__(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        self.batches.append([amount_of(each) for each in received])
        self.mood(received)
        memory = unit.transaction
        assert isinstance(memory, MemoryTransaction)
        for each in received:
            await apply(unit, each)


async def apply(unit: UnitOfWork, received: Received) -> None:
    """One amount into its balance, its id into the effects, and a copy published."""
    memory, event = unit.transaction, received.event
    assert isinstance(memory, MemoryTransaction)
    assert isinstance(event, Added)
    if event.note == "raises":
        raise ValueError(event.note)
    if event.note == "constraint":
        raise DomainConstraintError(event.note)
    if event.note == "shown":
        raise DomainConstraintError(event.note, detail=f"Failing row contains ({event.account}).")
    await memory.lock(BALANCES, event.account)
    balance = memory.get(BALANCES, event.account) or 0
    await memory.put(BALANCES, event.account, balance + event.amount)
    message_id = received.message.id
    await memory.put(EFFECTS, message_id, (memory.get(EFFECTS, message_id) or 0) + 1)
    copy = Copied(event.account, event.amount)
    unit.publish(copy, key=event.account, cause=received.message)


def amount_of(received: Received) -> int:
    """Its amount."""
    assert isinstance(received.event, Added)
    return received.event.amount


class World(MemoryService):
    """A memory service that runs the ledger."""

    def __init__(self, policy: ConsumerPolicy | None = None, handler: Any = None) -> None:  # noqa: ANN401 - any handler
        super().__init__(CODEC, name="ledger")
        self.ledger = Ledger()
        self.policy = policy or ConsumerPolicy()
        self.handler = handler or self.ledger
        self.consumer = self.new_consumer()

    def new_consumer(self) -> Consumer:
        """A member, as a restart would make it."""
        return Consumer(
            CONSUMER,
            log=self.log,
            topics=[TOPIC],
            types=[Added],
            handler=self.handler,
            ports=self.ports,
            policy=self.policy,
        )

    def amounts(self, notes: Iterable[str] = (), *, count: int = 0, key: str = "") -> list[Message]:
        """Messages with amounts 1, 2, 3 … in one lane, one for each note (or `count` good ones).

        With a `key` all are its; else every message has a key of its own, in the same lane.
        """
        notes = list(notes) or [""] * count
        keys = [key] * len(notes) if key else keys_of_one_lane(len(notes))
        return [
            self.message(Added(keys[number], number + 1, note), key=keys[number])
            for number, note in enumerate(notes)
        ]

    @property
    def effects(self) -> dict[Any, int]:
        """How often each message was applied."""
        return self.database.tables.get(EFFECTS, {})

    @property
    def balances(self) -> dict[str, int]:
        """By account."""
        return self.database.tables.get(BALANCES, {})

    @property
    def letters(self) -> list[tuple[Any, Verdict]]:
        """Ids and verdicts of the dead letters."""
        return [(row.letter.record.message.id, row.verdict) for row in self.dead_letters.rows]

    @property
    def copies(self) -> list[Message]:
        """What the ledger published, without dead letters."""
        return [message for message in self.outbox.messages if message.topic == "copies"]

    def done(self, messages: Sequence[Message]) -> bool:
        """Whether the stored position is behind all of these, and nothing is in flight."""
        last = self.source.lanes[lane_of(messages[-1].key)][-1]
        return self.stored_position(CONSUMER, lane_of(messages[-1].key)) == last.seq

    async def consume(self, messages: Sequence[Message]) -> None:
        """Feed these, run a consumer until they are done, and stop it."""
        await self.feed(messages)
        async with self.running(self.consumer):
            await self.clock.until(lambda: self.done(messages))


def keys_of_one_lane(count: int) -> list[str]:
    """So many keys that fall into lane 0, so that a batch has one order."""
    keys: list[str] = []
    number = 0
    while len(keys) < count:
        number += 1
        if lane_of(str(number)) == 0:
            keys.append(str(number))
    return keys


def broken(message: Message) -> Message:
    """The message with bytes that are no JSON."""
    return replaced(message, value=b"\x00not json")

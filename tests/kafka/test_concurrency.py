"""KAFKA_CONCURRENCY: one process is that many members of its consumer's group."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.kafka.reading import name_of, settings_for
from tests.messaging.postgres.relay_world import until

from waybill.messaging import EventType, JsonCodec, MessagingService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.kafka.broker import OtherBroker

    from waybill.messaging.core.unit import Received, UnitOfWork

KEYS = 40
"""More than a partition has: each of the six gets some."""


class Numbered(msgspec.Struct, frozen=True):
    """An event."""

    number: int


class Together:
    """A handler whose first units go on only once so many of them run at the same time."""

    def __init__(self, units: int) -> None:
        self.numbers: dict[str, list[int]] = defaultdict(list)
        """By key, as they were applied."""
        self._units = units
        self._met: set[asyncio.Task[object] | None] = set()
        self._open = asyncio.Event()

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Take them, each member's first batch together with the others'."""
        self._met.add(asyncio.current_task())
        if len(self._met) >= self._units:
            self._open.set()
        await self._open.wait()  # for good: a partition may move to one more member later
        unit.on_commit(lambda: self._applied(received))

    def _applied(self, received: Sequence[Received]) -> None:
        """A batch whose partition moved away meanwhile rolls back, and comes again elsewhere."""
        for each in received:
            assert isinstance(each.event, Numbered)
            self.numbers[each.message.key].append(each.event.number)

    @property
    def count(self) -> int:
        """How many were applied."""
        return sum(map(len, self.numbers.values()))


@asynccontextmanager
async def service(
    url: str, bootstrap: str, consumer: str, handler: Together, *, concurrency: int
) -> AsyncIterator[MessagingService]:
    """A running one that publishes to a topic of its own and reads it."""
    made = MessagingService(
        "parcels",
        url=url,
        codec=JsonCodec([EventType(Numbered, topic=consumer, name="Numbered")]),
        kafka=replace(settings_for(bootstrap), concurrency=concurrency),
        publishes=[consumer],
    )
    await made.connect()
    made.consume(consumer, [Numbered], handler.handle)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


async def publish(made: MessagingService, first: int, count: int) -> None:
    """Numbered events of all keys, in one commit."""
    async with made.unit() as unit:
        for number in range(first, first + count):
            unit.publish(Numbered(number), key=f"k{number % KEYS}")


@pytest.mark.parametrize(
    ("concurrency", "members"), [(3, 3), pytest.param(9, 6, marks=pytest.mark.long)]
)
async def test_members_of_one_process_share_the_partitions(
    messaging_database: str, kafka: OtherBroker, concurrency: int, members: int
) -> None:
    """Their units run side by side, at most one a partition; a key's messages keep their order."""
    consumer = name_of("parcels")
    handler = Together(members)
    async with service(
        messaging_database, kafka.bootstrap, consumer, handler, concurrency=concurrency
    ) as made:
        for turn in range(10):
            await publish(made, 120 * turn, 120)

        async def applied() -> bool:
            return handler.count == 1200

        await until(applied)
        ages = made.supervisor.ages_seconds()
        names = {consumer, *(f"{consumer} {number}" for number in range(2, members + 1))}
        assert {name for name in ages if name.startswith(consumer)} == names
        assert not made.supervisor.halted
        assert not made.supervisor.restarts
    assert handler.numbers == {f"k{n}": list(range(n, 1200, KEYS)) for n in range(KEYS)}

"""A consumer that reads the order service's outbox directly, with nothing to do for a message.

What it does is the core's own: fetch, fence, positions, inbox, commit. Rates are of bursts: from
their commit until the consumer has committed the last of them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.bursts import TOPIC, TYPE, append
from benchmarks.cluster import connected, fresh_database, held_snapshots
from waybill.messaging import EventType, JsonCodec, MessagingService
from waybill.messaging.adapters.postgres.upkeep import OutboxUpkeep, UpkeepSettings
from waybill.messaging.reading.settings import SourceSpec
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import database_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from benchmarks.effort import Effort
    from waybill.messaging.core.unit import Received, UnitOfWork

NAME: Final = "reading"
BURST_EVENTS: Final = 50_000
"""A few seconds of its work."""
BURST_SECONDS_MAX: Final = 120.0


class Measured(msgspec.Struct, frozen=True):
    """The message."""

    text: str


class Counting:
    """The handler; it counts what is committed."""

    def __init__(self) -> None:
        self.done = 0
        self._changed = asyncio.Event()

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Nothing but the core's own statements."""
        count = len(received)
        unit.on_commit(lambda: self._committed(count))

    def _committed(self, count: int) -> None:
        self.done += count
        self._changed.set()

    async def reach(self, wanted: int) -> None:
        """Wait until so many are done."""
        async with asyncio.timeout(BURST_SECONDS_MAX):
            while self.done < wanted:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def _reading(data: Path) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """A consumer that runs; calls give the messages a second of one burst more."""
    async with (
        EmbeddedPostgres(data) as server,
        fresh_database(data, NAME),
        connected(data, "order") as sql,
    ):
        service = MessagingService(
            NAME,
            url=server.url(NAME),
            codec=JsonCodec([EventType(Measured, topic=TOPIC, name=TYPE)]),
            sources={
                "order-service": SourceSpec(server.url(database_of("order")), frozenset({TOPIC}))
            },
            notify=False,
        )
        await service.migrate()
        await service.connect()
        counting = Counting()
        upkeep = OutboxUpkeep(server.url(database_of("order")), UpkeepSettings())
        service.consume(NAME, [Measured], counting.handle)

        async def burst() -> float:
            await upkeep.turn()  # nobody else looks after the partitions of the order service
            wanted = counting.done + BURST_EVENTS
            await append(sql, BURST_EVENTS)
            began = time.monotonic()
            await counting.reach(wanted)
            return BURST_EVENTS / (time.monotonic() - began)

        service.start()
        try:
            yield burst
        finally:
            await service.stop()


async def snapshot_rates(data: Path, effort: Effort) -> tuple[list[float], list[float]]:
    """Of bursts without a snapshot in any database, and of the last ones under one.

    Half of the first are measured before it, half after it: the tables have grown meanwhile.
    """
    windows = effort.snapshot_windows
    async with AsyncExitStack() as stack:
        burst = await stack.enter_async_context(_reading(data))
        await burst()
        free = [await burst() for _ in range(windows)]
        async with held_snapshots(data, (database_of("order"), NAME)):
            until = time.monotonic() + effort.snapshot_seconds
            held: list[float] = []
            while time.monotonic() < until or len(held) < windows:
                held.append(await burst())
        async with connected(data, database=NAME) as own:
            await own.execute("VACUUM")
        free += [await burst() for _ in range(windows)]
    return free, held[-2 * windows :]

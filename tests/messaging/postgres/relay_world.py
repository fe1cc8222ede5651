"""An outbox and the relays of its service's instances, for the tests of L1 to L6."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from waybill.messaging.adapters.memory import MemoryLogWriter
from waybill.messaging.adapters.postgres import relay_mode
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.relay_store import PostgresRelayStore
from waybill.messaging.adapters.postgres.source import OutboxSource
from waybill.messaging.core.errors import OutcomeUnknownError, TransientError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.relay import RelayStore
from waybill.messaging.core.retry import Backoff
from waybill.messaging.engines.postgres import PostgresEngine
from waybill.messaging.reading.settings import LogSettings
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.doorbell import Doorbell
from waybill.messaging.runtime.ports import SilentObserver
from waybill.messaging.runtime.relay import Relay
from waybill.messaging.runtime.relay_settings import RelaySettings
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Message, Record
    from waybill.messaging.core.ports import Database, LogWriter, Outbox, Row
    from waybill.messaging.core.relay import HeldInfo, Verdict
    from waybill.messaging.core.relay_start import Drained
    from waybill.messaging.core.relay_status import RelayStatus
    from waybill.messaging.engines.port import Engine

SOURCE = "parcels"
FAST = RelaySettings(
    lease_seconds=1.5, poll_seconds=0.05, retry=Backoff(base_seconds=0.01, cap_seconds=0.05)
)
FEW_SECONDS = 60.0


class ClosableStore(RelayStore, Protocol):
    """A store with a connection of its own."""

    async def close(self) -> None:
        """Close it."""


class RelayWorld:
    """One outbox, one log, and whatever instances a test starts."""

    engine: Engine = PostgresEngine()

    def __init__(self, url: str) -> None:
        self.url = url
        self.bell = Doorbell()
        self.outbox: Outbox = PostgresOutbox(doorbell=self.bell.ring)
        self.database: Database
        self.log = MemoryLogWriter()
        self.sent: list[Message] = []
        self._running: dict[Relay, tuple[asyncio.Task[None], ClosableStore]] = {}

    async def open(self) -> None:
        """Connect, and let the outbox feed the log."""
        self.database = await PostgresDatabase.connect(self.url, PostgresSettings(pool_max=10))
        await self.store().attach(self.log.log_identity)

    async def close(self) -> None:
        """Stop what runs."""
        for relay in list(self._running):
            await self.stop(relay)
        await self.database.close()

    def store(self, **changes: Any) -> ClosableStore:  # noqa: ANN401 - passed on
        """An instance's half of the outbox."""
        source = OutboxSource(SOURCE, self.url, application_name="relay", settings=LogSettings())
        changes.setdefault("rewind_seconds", 60.0)
        return PostgresRelayStore(SOURCE, self.database, source, **changes)

    async def start(
        self,
        settings: RelaySettings = FAST,
        *,
        writer: LogWriter | None = None,
        wrap: Callable[[ClosableStore], RelayStore] = lambda store: store,
        hears: bool = True,
    ) -> Relay:
        """Another instance."""
        store = self.store()
        relay = Relay(
            f"relay {len(self._running)}",
            source=SOURCE,
            store=wrap(store),
            writer=writer or self.log,
            member=f"instance {len(self._running)}",
            clock=SystemClock(),
            observer=SilentObserver(),
            random=lambda: 0.5,
            new_id=new_id,
            settings=settings,
        )
        if hears:
            self.bell.attach(relay)
        self._running[relay] = (asyncio.create_task(_keep(relay)), store)
        return relay

    def task(self, relay: Relay) -> asyncio.Task[None]:
        """Its life."""
        return self._running[relay][0]

    async def stop(self, relay: Relay) -> None:
        """As a drain does."""
        task, store = self._running.pop(relay)
        self.bell.forget(relay)
        relay.stop()
        with suppress(Exception):
            await asyncio.wait_for(task, FEW_SECONDS)
        await store.close()

    async def publish(self, *keys: str, **changes: Any) -> list[Message]:  # noqa: ANN401 - of a message
        """Commit a message a key."""
        messages = [a_message(key, **changes) for key in keys]
        async with self.database.transaction() as transaction:
            self.outbox.append(transaction, messages)
        self.sent += messages
        return messages

    async def positions(self) -> list[int]:
        """As stored, by lane."""
        rows = await self.database.fetch("SELECT position FROM messaging.outbox_lane ORDER BY lane")
        return [row[0] for row in rows]

    async def owners(self) -> list[int]:
        """How many lanes each member that lives has, by the database."""
        rows = await self.database.fetch(
            "SELECT token, count(*) AS lanes FROM messaging.outbox_lane "
            "WHERE lease_until > clock_timestamp() GROUP BY token ORDER BY lanes DESC"
        )
        return [row["lanes"] for row in rows]

    async def lag(self) -> int:
        """Rows above the stored positions."""
        (row,) = await self.database.fetch(
            "SELECT count(*) FROM messaging.outbox AS o JOIN messaging.outbox_lane AS l "
            "ON l.lane = o.lane AND o.seq > l.position"
        )
        return int(row[0])

    async def held(self) -> list[tuple[str, str]]:
        """Key and state of what is held, by seq."""
        rows = await self.database.fetch(
            "SELECT aggregateid, state FROM messaging.outbox_held ORDER BY seq"
        )
        return [(row[0], row[1]) for row in rows]

    async def held_infos(self, *, with_skipped: bool = False) -> list[HeldInfo]:
        """As an operator sees them."""
        return await self.engine.list_held(self.database, with_skipped=with_skipped)

    async def judge(self, message: Message, verdict: Verdict, why: str = "") -> set[UUID]:
        """An operator's word."""
        return await self.engine.judge_held(self.database, [message.id], verdict, who="me", why=why)

    async def rewind(self) -> None:
        """Send all that is retained again."""
        await self.engine.rewind(self.database, None)

    async def status(self) -> RelayStatus:
        """As an operator sees it."""
        return await self.engine.look_at_relay(self.database)

    async def drain(self) -> Drained:
        """What `waybill drain` does to one outbox."""
        return await relay_mode.drain(self.database)

    async def run(self, statement: str, *arguments: object) -> Sequence[Row]:
        """One statement of PostgreSQL's, on any engine."""
        return await self.database.fetch(statement, *arguments)

    async def move_to_another_server(self) -> None:
        """Let it look so, as after a restore."""
        await self.run("UPDATE messaging.outbox_meta SET timeline = timeline + 1")

    async def direct(self) -> None:
        """Leave it as a platform without Kafka does."""
        await self.run("UPDATE messaging.outbox_meta SET mode = 'direct', log = NULL")

    async def register(self, reader: str, position: int) -> None:
        """A direct reader that is so far in every lane."""
        topics, places = ["parcel-events"], [position] * ALL_LANES
        await self.engine.places.register(self.database, reader, topics, places)

    async def drained(self) -> None:
        """Wait until everything was sent, and the database knows it."""
        await until(self.is_drained)

    async def is_drained(self) -> bool:
        """Whether no row is above the positions."""
        for task, _ in self._running.values():
            if task.done():
                await task
        return await self.lag() == 0

    async def released(self) -> None:
        """Wait until nothing is held: a record is in the log before it is no longer held."""

        async def is_released() -> bool:
            return await self.held() == []

        await until(is_released)

    @property
    def arrived(self) -> list[Record]:
        """All that the log has, in its order."""
        return [record for topic in self.log.topics.values() for record in topic]

    @property
    def known(self) -> set[UUID]:
        """Ids of what the log has; a lease that ran out on a busy machine sends some again."""
        return {record.message.id for record in self.arrived}

    def assert_complete(self, *, but_for: Sequence[Message] = ()) -> None:
        """Nothing is lost, and first arrivals of each key are in commit order."""
        expected, found = by_key(self.sent, but_for), by_key([r.message for r in self.arrived])
        assert found == expected, f"found {found}, not {expected}"


async def _keep(relay: Relay) -> None:
    """As the supervisor does."""
    while True:
        try:
            await relay.run()
        except (TransientError, OutcomeUnknownError):
            continue
        else:
            return


def by_key(messages: Sequence[Message], but_for: Sequence[Message] = ()) -> dict[str, list[object]]:
    """Ids in the order in which they first appear."""
    left_out = {message.id for message in but_for}
    found: defaultdict[str, dict[object, None]] = defaultdict(dict)
    for message in messages:
        if message.id not in left_out:
            found[message.key].setdefault(message.id)
    return {key: list(ids) for key, ids in found.items()}


async def until(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(FEW_SECONDS):
        while True:
            holds = condition()
            if isinstance(holds, bool):
                if holds:
                    return
            elif await holds:
                return
            await asyncio.sleep(0.01)

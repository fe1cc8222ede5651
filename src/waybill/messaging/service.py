"""The composition root of the library: one service's messaging, on the engine of its URL.

The only place where runtime and adapters meet. A platform builds on `connect`, `consume`, `deliver`
and `every`; a small service needs `handler`, `join` and `async with`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Self, TypeVar

from waybill.messaging.adapters.postgres.connection import PostgresSettings
from waybill.messaging.adapters.postgres.server import checked_server
from waybill.messaging.adapters.postgres.upkeep import UpkeepSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX
from waybill.messaging.core.outbox_row import VALUE_BYTES_MAX
from waybill.messaging.engines import engine_of
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.runtime.consumer import Consumer
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.messaging.runtime.doorbell import Doorbell
from waybill.messaging.runtime.each import each
from waybill.messaging.runtime.message_unit import MessageUnit
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.runtime.ports import ServicePorts, SilentObserver
from waybill.messaging.runtime.relay_settings import RelaySettings
from waybill.messaging.runtime.scheduler import Job, Scheduler
from waybill.messaging.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from waybill.messaging.adapters.kafka.headers import ReadForeign
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.codec import Codec
    from waybill.messaging.core.message import Appended
    from waybill.messaging.core.ports import Database, Deliveries, Log, Observer
    from waybill.messaging.core.unit import Received, UnitOfWork
    from waybill.messaging.engines.port import Engine, Hints
    from waybill.messaging.relaying import Relaying
    from waybill.messaging.runtime.delivery import DeliveryPolicy
    from waybill.messaging.runtime.each import MessageHandler
    from waybill.messaging.runtime.loop import Loop
    from waybill.messaging.runtime.outside import Call, Query, Rejected
    from waybill.messaging.runtime.relay import Relay
    from waybill.messaging.runtime.settlement import Lock, Settled
    from waybill.messaging.runtime.unit import Handler

EventHandler = TypeVar("EventHandler", bound="Callable[[Any, MessageUnit], Awaitable[None]]")
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class MessagingSettings:
    """Limits of one service's messaging, each with its unit."""

    database: PostgresSettings = field(default_factory=PostgresSettings)
    log: LogSettings = field(default_factory=LogSettings)
    relay: RelaySettings = field(default_factory=RelaySettings)
    dead_letter_suffix: str = DEAD_LETTER_SUFFIX
    """Behind the topic's name, in the name of the topic of its dead letters."""
    message_bytes_max: int = MESSAGE_BYTES_MAX
    """A larger message is refused when it is published (protocol L4)."""
    consumer: ConsumerPolicy = field(default_factory=ConsumerPolicy)
    upkeep: UpkeepSettings = field(default_factory=UpkeepSettings)
    upkeep_interval_seconds: float = 10.0
    inbox_retention_seconds: float = 30 * DAY_SECONDS
    inbox_purge_interval_seconds: float = 3600.0
    drain_seconds_max: float = 15.0

    def __post_init__(self) -> None:
        if not 0 < self.message_bytes_max <= VALUE_BYTES_MAX:
            raise ConfigurationError(
                f"message_bytes_max is {self.message_bytes_max}: readers take a value of at most "
                f"{VALUE_BYTES_MAX} bytes out of an outbox"
            )
        if self.inbox_retention_seconds <= self.upkeep.outbox_retention_seconds:
            raise ConfigurationError(
                "inbox_retention_seconds must exceed outbox_retention_seconds: a message that is "
                "still in an outbox could be applied a second time (protocol D5)"
            )


def _kept(settings: MessagingSettings, kafka: KafkaSettings | None) -> MessagingSettings:
    """On Kafka a row outlives its record: what brokers lose can be sent again (promise P2)."""
    if kafka is None:
        return settings
    if settings.inbox_retention_seconds <= kafka.retention_seconds:
        raise ConfigurationError(
            "inbox_retention_seconds must exceed KAFKA_RETENTION_SECONDS: a record that is still "
            "in a topic could be applied a second time (promise P3)"
        )
    seconds = max(settings.upkeep.outbox_retention_seconds, kafka.retention_seconds)
    return replace(settings, upkeep=replace(settings.upkeep, outbox_retention_seconds=seconds))


class MessagingService:
    """Outbox, inbox, consumers, deliveries and periodic work of one service.

    `name` is the producer's name and stays for ever, as do consumers' ids. `sources` are the
    services whose topics are consumed here; topics that none of them has are this service's own.
    With an `engine` (SQLAlchemy over asyncpg) a consumer's unit has a `session`. `owner_url` is
    for migrations and upkeep, where `url` is a role without DDL. `doorbells` are those of the
    services of this process; `notify` hints readers in other processes.

    With `kafka` a relay carries the outbox there, and consumers read there: no sources. `publishes`
    are then the topics to create beside those that are consumed; `read_foreign` understands a
    stranger's records without headers of ours.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        codec: Codec,
        engine: AsyncEngine | None = None,
        owner_url: str | None = None,
        sources: Mapping[str, SourceSpec] | None = None,
        settings: MessagingSettings | None = None,
        observer: Observer | None = None,
        doorbells: dict[str, Doorbell] | None = None,
        notify: bool = True,
        kafka: KafkaSettings | None = None,
        read_foreign: ReadForeign | None = None,
        publishes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.settings = _kept(settings or MessagingSettings(), kafka)
        self._url = url
        self.storage: Engine = engine_of(url)
        """The technology of its database."""
        self._codec = codec
        self._engine = engine
        self._owner_url = owner_url or url
        self._sources = dict(sources or {})
        self._observer = observer or SilentObserver()
        self._doorbells = doorbells if doorbells is not None else {}
        self._doorbell = self._doorbells.setdefault(name, Doorbell())
        self._notify = notify
        self._kafka = kafka
        self._read_foreign = read_foreign
        self._publishes = tuple(publishes)
        self._relaying: Relaying | None = None
        self._hints: Hints | None = None
        self._handlers: dict[str, dict[type, MessageHandler]] = {}
        self._ports: ServicePorts | None = None
        self._loops: list[Loop] = []
        self._jobs: list[Job] = []
        self._supervisor: Supervisor | None = None

    @property
    def ports(self) -> ServicePorts:
        """What handlers and loops need. Raises ConfigurationError before `connect`."""
        if self._ports is None:
            raise ConfigurationError(f"{self.name} is not connected: call connect() first")
        return self._ports

    @property
    def deliveries(self) -> Deliveries:
        """The table of outside calls."""
        return self.storage.deliveries(self.ports.database)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of outside calls that are made here."""
        return tuple(loop.kind for loop in self._loops if isinstance(loop, Deliverer))

    @property
    def supervisor(self) -> Supervisor:
        """Tells how the loops are. Raises ConfigurationError before `start`."""
        if self._supervisor is None:
            raise ConfigurationError(f"{self.name} is not running: call start() first")
        return self._supervisor

    @property
    def relay(self) -> Relay | None:
        """What carries the outbox to Kafka; None without it, and before `connect`."""
        return self._relaying.relay if self._relaying is not None else None

    async def migrate(self) -> None:
        """Create or upgrade messaging's tables, as their owner. May be repeated."""
        rows = self.settings.upkeep.outbox_partition_rows
        await self.storage.upgrade(self._owner_url, partition_rows=rows)

    async def connect(self) -> None:
        """Open the database. Raises TransientError (it is down) or ConfigurationError.

        The latter also for an outbox that goes the other way and is not drained (protocol L6), and
        for messages that the database has no room for.
        """
        database, storage = await self._open(), self.storage
        try:
            await self._check(database)
        except BaseException:
            await database.close()
            raise
        self._hints = storage.hints(database) if self._notify else None
        outbox = storage.outbox(
            message_bytes_max=self._message_bytes_max,
            doorbell=self._ring,
            observer=self._observer,
        )
        self._ports = ServicePorts(
            database=database,
            outbox=outbox,
            inbox=storage.inbox(),
            dead_letters=storage.dead_letters(
                database,
                outbox,
                suffix=self.settings.dead_letter_suffix,
                message_bytes_max=self._message_bytes_max,
            ),
            codec=self._codec,
            producer=self.name,
            observer=self._observer,
        )
        if self._kafka is not None:
            self._relaying = self._relayed(self._kafka)

    async def _check(self, database: Database) -> None:
        if self._kafka is None:
            await self.storage.require_direct(database, self.name)
        else:
            await self.storage.require_relay(database, self.name, self.settings.relay.mode)
        await self.storage.require_message_bytes(database, self._message_bytes_max)

    @property
    def _message_bytes_max(self) -> int:
        limit = self.settings.message_bytes_max
        return limit if self._kafka is None else min(limit, self._kafka.record_bytes_max)

    def _relayed(self, kafka: KafkaSettings) -> Relaying:
        # Only services on Kafka need its client.
        from waybill.messaging.relaying import Relaying  # noqa: PLC0415

        relaying = Relaying(
            self.name,
            url=self._url,
            storage=self.storage,
            ports=self.ports,
            kafka=kafka,
            settings=self.settings.relay,
            read_foreign=self._read_foreign,
            dead_letter_suffix=self.settings.dead_letter_suffix,
        )
        relaying.publishes(self._publishes)
        self._doorbell.attach(relaying.relay)
        return relaying

    async def _open(self) -> Database:
        if self._engine is None:
            return await self.storage.connect(self._url, self.settings.database)
        # Only users of SQLAlchemy pay for importing it.
        from waybill.messaging.adapters.sqlalchemy.database import (  # noqa: PLC0415
            SqlalchemyDatabase,
        )

        database = SqlalchemyDatabase(self._engine)
        await checked_server(database)
        return database

    def _ring(self, appended: Sequence[Appended]) -> None:
        self._doorbell.ring(appended)
        # With a relay that owns every lane nobody else waits for anything.
        if self._hints is not None and not (self.relay is not None and self.relay.owns_all):
            self._hints.ring()

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work in a transaction of its own; it commits at the end of the block."""
        async with self.ports.database.transaction() as transaction:
            yield self.ports.unit(transaction)

    async def join(self, owner: AsyncSession | AsyncConnection) -> UnitOfWork:
        """A unit in the transaction of a SQLAlchemy session or connection, which ends it.

        What it publishes is written as the last act before that COMMIT.
        """
        from waybill.messaging.adapters.sqlalchemy.transaction import join  # noqa: PLC0415 - as above

        return self.ports.unit(await join(owner))

    def handler(self, consumer: str, *types: type) -> Callable[[EventHandler], EventHandler]:
        """Decorate `async def handle(event, unit: MessageUnit)` for these event types.

        One call a message, in the order of its key. It may be impure: 1 + 3 tries (protocol C7).
        """

        def register(handle: EventHandler) -> EventHandler:
            async def one(unit: UnitOfWork, received: Received) -> None:
                await handle(received.event, MessageUnit(unit, received.message))

            known = self._handlers.setdefault(consumer, {})
            for kind in types:
                if kind in known:
                    raise ConfigurationError(f"{consumer} has two handlers of {kind.__name__}")
                known[kind] = one
            return handle

        return register

    def consume(
        self,
        consumer: str,
        types: Iterable[type],
        handle: Handler,
        *,
        patient: Iterable[type] = (),
        policy: ConsumerPolicy | None = None,
    ) -> Consumer:
        """Run a set-wise handler of these event types from `start` on; the first member's loop.

        Nobody waits for the `patient` ones of them: they may stay `policy.linger_seconds` for
        others, to be decided in one transaction.

        On Kafka `handle` runs in as many members as KAFKA_CONCURRENCY says, each with partitions of
        its own. Raises ConfigurationError for a type that no codec knows, or that has no source.
        """
        kinds = tuple(types)
        topics = self._codec.topics(kinds)
        log = self._log(topics)
        # Without Kafka a consumer has one active member (protocol D1): more would only stand by.
        count = self._kafka.members if self._kafka is not None else 1
        members = [
            Consumer(
                consumer,
                log=log,
                topics=sorted(topics),
                types=kinds,
                handler=handle,
                ports=self.ports,
                patient=patient,
                policy=policy or self.settings.consumer,
                member=number,
            )
            for number in range(1, count + 1)
        ]
        self._loops += members
        return members[0]

    def _log(self, topics: frozenset[str]) -> Log:
        if self._relaying is not None:
            return self._relaying.log(topics)
        foreign = {topic for source in self._sources.values() for topic in source.topics}
        sources = dict(self._sources)
        if own := topics - foreign:
            sources[self.name] = SourceSpec(self._url, own)
        log = self.storage.log(
            self.ports.database, sources, settings=self.settings.log, doorbells=self._doorbells
        )
        log.topics_by_source(topics)
        return log

    def deliver(
        self,
        kind: str,
        call: Call,
        settled: Settled,
        *,
        query: Query | None = None,
        lock: Lock | None = None,
        policy: DeliveryPolicy | None = None,
        rejected: Rejected | None = None,
    ) -> Deliverer:
        """Make the outside calls of this kind from `start` on; owe them with `Deliverer.owe`."""
        loop = Deliverer(
            kind,
            ports=self.ports,
            deliveries=self.deliveries,
            call=call,
            settled=settled,
            query=query,
            lock=lock,
            policy=policy,
            rejected=rejected,
        )
        self._loops.append(loop)
        return loop

    def every(self, seconds: float, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """Run this about every so many seconds, in one process at a time; safe to repeat."""
        self._jobs.append(Job(name=name, run=run, every_seconds=seconds))

    def add(self, loop: Loop) -> None:
        """Run a loop of one's own from `start` on."""
        self._loops.append(loop)

    def start(self) -> None:
        """Run everything that was registered."""
        for consumer, handlers in self._handlers.items():
            self.consume(consumer, handlers, each(handlers))
        if self._relaying is not None:
            self.add(self._relaying.relay)
        self._supervisor = Supervisor(self.ports.clock, SystemRandom().random)
        self._supervisor.start(*self._loops, self._scheduler())

    def _scheduler(self) -> Scheduler:
        settings, ports = self.settings, self.ports
        upkeep = self.storage.upkeep(self._owner_url, settings.upkeep)
        self.every(settings.upkeep_interval_seconds, "outbox upkeep", upkeep)
        self.every(settings.inbox_purge_interval_seconds, "inbox purge", self._purge_inbox)
        return Scheduler(
            f"{self.name} scheduler",
            self._jobs,
            schedule=self.storage.schedule(ports.database),
            clock=ports.clock,
            observer=ports.observer,
            random=ports.random,
            new_id=ports.new_id,
        )

    async def _purge_inbox(self) -> int:
        return await self.storage.purge_inbox(
            self.ports.database,
            self.settings.inbox_retention_seconds,
            sources_hold=self._kafka is None,
        )

    async def stop(self) -> None:
        """Drain the loops within their bound and close the database. May be repeated."""
        if self._supervisor is not None:
            await self._supervisor.stop(within_seconds=self.settings.drain_seconds_max)
            self._supervisor = None
        if self._relaying is not None:
            self._doorbell.forget(self._relaying.relay)
            await self._relaying.close()
        if self._hints is not None:
            await self._hints.close()
        if self._ports is not None and self._engine is None:
            await self._ports.database.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

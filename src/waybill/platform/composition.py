"""The composition root of the platform: PostgreSQL, services and their HTTP in one process.

All services by default; `waybill serve` runs one of them beside a database that runs already.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.adapters.postgres.connection import PostgresSettings
from waybill.messaging.adapters.postgres.lease import release_all
from waybill.messaging.adapters.postgres.upkeep import UpkeepSettings
from waybill.messaging.core.errors import ConfigurationError, OverloadedError
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.reading.settings import SourceSpec
from waybill.messaging.runtime.brake import Brake
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.doorbell import Doorbell
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.runtime.relay_settings import RelayFigures, RelaySettings
from waybill.messaging.service import DAY_SECONDS, MessagingService, MessagingSettings
from waybill.platform.audit_figures import audit_collector
from waybill.platform.caches import caches_of
from waybill.platform.chosen import chosen
from waybill.platform.databases import databases_of, urls_of
from waybill.platform.disk import disk_used
from waybill.platform.edge_choice import ACCOUNTS, EDGE, asks_for_tokens, edge_of, with_edge
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Component, Health
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import HttpServer, bind
from waybill.platform.looks import show_figures
from waybill.platform.metrics import ServiceMetrics
from waybill.platform.outside import Outside
from waybill.platform.own_server import check_engine, prepare
from waybill.platform.paying import pays_inside
from waybill.platform.provisioning import SIMULATOR, provision
from waybill.platform.sampling import Hosted
from waybill.platform.service_context import in_service
from waybill.platform.services import Workshop, plans_of
from waybill.platform.settings import is_loopback
from waybill.platform.stores import stores_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from waybill.edge.tokens.bearer import Verifier
    from waybill.edge.tokens.verifier import TokenVerifier
    from waybill.platform.caches import Caches
    from waybill.platform.edge_services import EdgeServices
    from waybill.platform.own_databases import OwnDatabases
    from waybill.platform.presence import Presence
    from waybill.platform.services import Built, ServicePlan
    from waybill.platform.settings import Settings

logger = logging.getLogger(__name__)

REQUESTS_DRAIN_SHARE, LOOPS_DRAIN_SHARE = 0.45, 0.4
"""Of the time to drain; the rest is for the database."""
UPKEEP_SECONDS_MAX = 10.0
"""Spare partitions are looked after so often, however rarely cleaning is asked for."""
IDLE_IN_TRANSACTION_SECONDS = 8.0
"""A process that stopped between BEGIN and COMMIT keeps its stand-by waiting no longer (D1)."""
LOOP_AGE_SECONDS_MAX = 10.0
"""Readiness is red when a loop made no turn for so long (promises, readiness)."""


@dataclass(frozen=True)
class RunningService:
    """One service of this process."""

    plan: ServicePlan
    messaging: MessagingService
    built: Built
    health: Health
    server: HttpServer
    caches: Caches


class Platform:
    """Services on one server. `async with` starts them and, at the end, drains and stops them.

    The embedded PostgreSQL is the caller's: running before, stopped after. A server of the user's
    may be away: a start waits for it. With KAFKA_BROKERS the services meet on Kafka. `services`:
    by their names on the command line; none: all of the blueprint's, and its edge.
    """

    def __init__(
        self,
        settings: Settings,
        server: EmbeddedPostgres | OwnDatabases,
        *,
        services: Iterable[str] = (),
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.running: dict[str, RunningService] = {}
        self._blueprint = chosen(settings)
        asked = tuple(services)
        settings = with_edge(settings, self._blueprint)
        if ACCOUNTS in asked:
            settings = settings.model_copy(update={"accounts": True})
        self._settings = settings
        self._server = server
        self._plans = plans_of(self._blueprint)
        self._names = tuple(name for name in asked or self._plans if name not in EDGE)
        for name in self._names:
            self._blueprint.service(name)  # one that it does not have is told here
        self._progress = progress
        self._kafka = KafkaSettings.from_environment(os.environ)
        self._outside = Outside.from_environment(os.environ)
        self._alone = isinstance(server, EmbeddedPostgres) and set(self._names) == set(self._plans)
        """Every consumer is here: nobody else needs hints or may hold a lease."""
        # All of them before any service reads another's.
        self._doorbells = {self._plans[name].name: Doorbell() for name in self._names}
        self._sockets: dict[str, socket.socket] = {}
        self._settings = self._settings.model_copy(update={"registry": self._has_registry()})
        self._presence = self._presence_of()
        self._is_bound = False
        beside = frozenset(asked).intersection(EDGE)
        if set(self._names) == set(self._plans):
            beside |= edge_of(self._settings)
        self._edge = self._edge_services(beside) if beside else None
        self._verifier: Verifier | None = self._token_verifier()
        self._services_token = ""
        self._stack = AsyncExitStack()

    def bind(self) -> None:
        """Take the ports, before anything else starts. Raises ConfigurationError: one is in use."""
        self._is_bound = True
        for name in self._names:
            port = self._settings.port_base + self._plans[name].port_offset
            self._sockets[name] = bind(port, host=self._settings.host)
            self._stack.callback(self._sockets[name].close)
        if self._edge is not None:
            self._edge.bind(self._stack)
        if self._presence is not None:
            self._presence.bind(self._stack)

    async def __aenter__(self) -> Self:
        try:
            if not self._is_bound:
                self.bind()
            await self._prepare()
            self._take_services_token()
            for name in self._names:
                with in_service(self._plans[name].name):
                    self.running[name] = await self._build(name)
            for service in self.running.values():
                with in_service(service.plan.name):
                    if self._alone:
                        # Leases of a killed predecessor: it holds the data no longer (E2).
                        await release_all(service.messaging.ports.database)
                    service.messaging.start()
            for service in self.running.values():
                with in_service(service.plan.name):
                    await service.server.start()
            if self._presence is not None:
                await self._presence.start()
                for service in self.running.values():
                    await self._presence.announce(
                        service.plan.name, service.server.port, service.health
                    )
            if self._edge is not None:
                await self._edge.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Readiness red, finish requests, drain the loops, close. May be repeated."""
        for service in self.running.values():
            service.health.draining = True
        if self._presence is not None:
            await self._presence.withdraw()  # served until everybody has heard it
        if self._edge is not None:
            await self._edge.stop()  # whoever comes through it finds the services still there
        await asyncio.gather(*(service.server.stop() for service in self.running.values()))
        await asyncio.gather(*(service.messaging.stop() for service in self.running.values()))
        for service in self.running.values():
            for each in (*service.built.databases, *service.built.clients, service.caches):
                await each.close()
        self.running.clear()
        if self._presence is not None:
            await self._presence.close()
        await self._stack.aclose()

    def _token_verifier(self) -> TokenVerifier | None:
        """Who says who calls; None: nobody is asked. One for all: it remembers for all."""
        if not asks_for_tokens(self._settings, self._blueprint):
            return None
        from waybill.platform.edge_settings import token_verifier  # noqa: PLC0415 - as below

        return token_verifier(self._settings, SystemClock())

    def _take_services_token(self) -> None:
        """Where callers show tokens, our own services have one, too."""
        if self._verifier is None:
            return
        from waybill.edge.tokens.services_token import WithServicesToken  # noqa: PLC0415 - as below
        from waybill.platform.edge_settings import services_token  # noqa: PLC0415 - as below

        self._services_token = services_token(self._server)
        if self._services_token:
            self._verifier = WithServicesToken(self._verifier, self._services_token)
        elif pays_inside(self._blueprint) and not {"order", "payment"}.isdisjoint(self._names):
            raise ConfigurationError(
                "the order service pays by a call of the payment service, which asks for a token: "
                "set SERVICES_TOKEN (or SERVICES_TOKEN_FILE) to the same secret for both"
            )

    def _has_registry(self) -> bool:
        """Where nobody says it: with the edge, beside all the services, for this machine alone."""
        settings, whole = self._settings, set(self._names) == set(self._plans)
        if settings.registry is not None:
            return settings.registry
        return whole and bool(settings.edge) and is_loopback(settings.host)

    def _presence_of(self) -> Presence | None:
        """Our instances in a registry, and the registry itself beside all the services."""
        if not self._settings.registry and not self._settings.registry_urls:
            return None
        from waybill.platform.presence import Presence  # noqa: PLC0415 - as below

        hosts = bool(self._settings.registry) and set(self._names) == set(self._plans)
        return Presence(self._settings, hosts=hosts)

    def _edge_services(self, names: frozenset[str]) -> EdgeServices:
        """Accounts and gateway: beside all the services, or by themselves."""
        # Most platforms have neither: they need not wait for its libraries.
        from waybill.platform.edge_services import EdgeServices  # noqa: PLC0415

        return EdgeServices(
            self._settings,
            self._server,
            names,
            blueprint=self._blueprint,
            progress=self._progress,
            offsets={name: plan.port_offset for name, plan in self._plans.items()},
            messaging=messaging_settings(self._settings, "accounts-service"),
            kafka=self._kafka,
            checks=_checks,
            documented={name: plan.name for name, plan in self._plans.items()},
            announce=self._presence.announce if self._presence is not None else None,
            redis=self._outside.redis,
        )

    async def _prepare(self) -> None:
        if isinstance(self._server, EmbeddedPostgres):
            names = databases_of(self._blueprint)
            await provision(self._server, names, progress=self._progress)
        else:
            check_engine(self._server, self._blueprint)  # before it asks for a URL of no use
            for name in self._names:
                self._sources(self._plans[name])  # one that is not configured is told first (D8)
            await prepare(
                self._server, self._names, blueprint=self._blueprint, progress=self._progress
            )

    async def _build(self, name: str) -> RunningService:
        plan = self._plans[name]
        metrics = ServiceMetrics(
            plan.name, version=version("waybill"), saga=self._blueprint.process.name
        )
        messaging = self._messaging(name, plan, metrics)
        await messaging.connect()
        caches = await caches_of(self._outside.redis, messaging, metrics)
        built = await plan.build(
            Workshop(
                blueprint=self._blueprint,
                messaging=messaging,
                metrics=metrics,
                settings=self._settings,
                stores=stores_of(urls_of(self._server, name).service),
                provider_url=self._provider_url(name),
                outside=self._outside,
                caches=caches,
                services_token=self._services_token,
            )
        )
        # The disk of a server of the user's is not seen from here.
        embedded = isinstance(self._server, EmbeddedPostgres)
        disks = [disk_used(self._settings)] if embedded else []
        owner_url = urls_of(self._server, name).owner
        show_figures(
            messaging,
            metrics,
            owner_url=owner_url,
            disks=disks,
            wiring=self._blueprint.services[plan.name],
            hosts=self._hosted(plan) if name == self._blueprint.host else None,
            kafka=self._kafka,
        )
        if name == self._blueprint.host:
            metrics.registry.register(audit_collector(self._settings))
        brake = Brake("disk brake", disks, ports=messaging.ports)
        messaging.add(brake)
        health = Health(_checks(messaging) | caches.checks)
        limits = HttpLimits(
            in_flight_max=self._settings.http_in_flight_max,
            graceful_seconds=max(1, int(self._settings.drain_seconds_max * REQUESTS_DRAIN_SHARE)),
        )
        parts = HttpParts(
            title=plan.name,
            version=version("waybill"),
            health=health,
            registry=metrics.registry,
            observer=metrics,
            now=_now,
            limits=limits,
            admit_write=_counted(brake.check, metrics),
            verifier=self._verifier,
        )
        application = create_application(built.surface, parts)
        server = HttpServer(application, self._sockets[name], limits)
        return RunningService(plan, messaging, built, health, server, caches)

    def _hosted(self, plan: ServicePlan) -> Hosted:
        return Hosted(self._blueprint.process.name, plan.processes)

    def _provider_url(self, name: str) -> str:
        """Of the simulator's ledger, which only the payment service has a password for."""
        return urls_of(self._server, SIMULATOR).service if name == "payment" else ""

    def _messaging(self, name: str, plan: ServicePlan, metrics: ServiceMetrics) -> MessagingService:
        urls = urls_of(self._server, name)
        return MessagingService(
            plan.name,
            url=urls.service,
            owner_url=urls.owner,
            codec=self._blueprint.codec(),
            sources=self._sources(plan),
            settings=messaging_settings(
                self._settings,
                plan.name,
                dead_letter_suffix=self._blueprint.dead_letter_suffix,
            ),
            observer=metrics,
            doorbells=self._doorbells,
            notify=not self._alone,
            kafka=self._kafka,
            publishes=self._blueprint.services[plan.name].publishes,
            read_foreign=self._blueprint.read_foreign,
        )

    def _sources(self, plan: ServicePlan) -> Mapping[str, SourceSpec]:
        """The outboxes of the services whose topics this one acts on, as their reader role.

        None on Kafka: there a service needs no database but its own.
        """
        if self._kafka is not None:
            return {}
        wiring = self._blueprint.services[plan.name]
        found = {}
        for other, other_plan in self._plans.items():
            topics = wiring.reads_of(self._blueprint.services[other_plan.name])
            if topics:
                url = urls_of(self._server, other).reader
                found[other_plan.name] = SourceSpec(url, frozenset(topics))
        return found


def _counted(admit: Callable[[], None], metrics: ServiceMetrics) -> Callable[[], None]:
    def count_and_refuse() -> None:
        try:
            admit()
        except OverloadedError:
            metrics.add("intake_refused_total", reason="disk")
            raise

    return count_and_refuse


def messaging_settings(
    settings: Settings, application_name: str, *, dead_letter_suffix: str = DEAD_LETTER_SUFFIX
) -> MessagingSettings:
    """The library's settings out of the platform's."""
    cleanup_seconds = settings.outbox_cleanup_interval_milliseconds / 1000
    return MessagingSettings(
        dead_letter_suffix=dead_letter_suffix,
        database=PostgresSettings(
            pool_max=settings.database_connections_max,
            application_name=application_name,
            idle_in_transaction_timeout_seconds=IDLE_IN_TRANSACTION_SECONDS,
            # Planning took most of PostgreSQL's time in small batches. No statement of ours has a
            # plan that depends on its arguments; tests hold those plans on empty and full tables.
            server_settings={"plan_cache_mode": "force_generic_plan"},
        ),
        consumer=ConsumerPolicy(
            batch_size_max=settings.batch_size_max,
            linger_seconds=settings.linger_seconds,
            dead_letters_max=settings.dead_letters_max,
            dead_letters_window_seconds=settings.dead_letters_window_seconds,
        ),
        upkeep=UpkeepSettings(
            outbox_partition_rows=settings.outbox_partition_rows,
            outbox_retention_seconds=settings.outbox_retention_days * DAY_SECONDS,
        ),
        relay=RelaySettings(mode=settings.outbox_mode),
        upkeep_interval_seconds=min(UPKEEP_SECONDS_MAX, cleanup_seconds),
        inbox_retention_seconds=settings.inbox_retention_days * DAY_SECONDS,
        inbox_purge_interval_seconds=cleanup_seconds,
        drain_seconds_max=settings.drain_seconds_max * LOOPS_DRAIN_SHARE,
    )


def _checks(
    messaging: MessagingService,
) -> dict[str, Callable[[], Awaitable[Component]]]:
    async def database() -> Component:
        await messaging.ports.database.fetch("SELECT 1")
        return Component("UP")

    async def outbox() -> Component:
        fits, details = await messaging.storage.has_room(messaging.ports.database)
        return Component("UP" if fits else "DOWN", details)

    async def loops() -> Component:
        supervisor = messaging.supervisor
        late = {
            name: f"{age:.0f} s without progress"
            for name, age in supervisor.ages_seconds().items()
            if age > LOOP_AGE_SECONDS_MAX
        }
        details = late | supervisor.halted
        return Component("DOWN" if details else "UP", details)

    async def relay() -> Component:
        """A broker that is away closes nothing: that is what the outbox is for (protocol I5)."""
        figures = messaging.relay.figures if messaging.relay is not None else RelayFigures()
        shown = {"lanes": figures.lanes, "inFlight": figures.in_flight}
        return Component("UP", {name: str(value) for name, value in shown.items()})

    checks: dict[str, Callable[[], Awaitable[Component]]] = {
        "db": database,
        "outbox": outbox,
        "loops": loops,
    }
    if messaging.relay is not None:
        checks["relay"] = relay
    return checks


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge's clock is given here

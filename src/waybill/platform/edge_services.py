"""Accounts and gateway beside the services of a platform, each where its setting says so."""

from __future__ import annotations

import logging
from importlib.metadata import version
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from waybill.edge.accounts import service as accounts
from waybill.edge.address import networks
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.service import MessagingService
from waybill.platform import gateway
from waybill.platform.databases import urls_of
from waybill.platform.discovery import watch_of
from waybill.platform.edge_choice import ACCOUNTS, GATEWAY
from waybill.platform.edge_limits import EdgeLimits, edge_limits
from waybill.platform.edge_settings import (
    ACCOUNTS_OFFSET,
    GATEWAY_OFFSET,
    OPERATIONS_OFFSET,
    account_settings,
    accounts_proxies,
    gateway_settings,
    token_settings,
    token_verifier,
)
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import LOOPBACK, HttpServer, bind
from waybill.platform.metrics import ServiceMetrics
from waybill.platform.own_server import prepare
from waybill.platform.provisioning import provision_optional
from waybill.platform.service_context import in_service

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from contextlib import AsyncExitStack

    from waybill.blueprints.definition import Blueprint
    from waybill.commerce.caching.settings import RedisSettings
    from waybill.edge.accounts.service import BuiltAccounts
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.service import MessagingSettings
    from waybill.platform.http.health import Check
    from waybill.platform.own_databases import OwnDatabases
    from waybill.platform.settings import Settings

    Announce = Callable[[str, int, Health], Awaitable[None]]

logger = logging.getLogger(__name__)

_NO_SAGA: Final = "none"


class EdgeServices:
    """`bind`, `start`, `stop`, in this order. `names`: which of them run here.

    `offsets` are the ports of the services above the base, by name, and `documented` their names
    in a registry, to which `announce` tells of ours.
    """

    def __init__(
        self,
        settings: Settings,
        server: EmbeddedPostgres | OwnDatabases,
        names: Collection[str],
        *,
        blueprint: Blueprint,
        progress: Callable[[str], None],
        offsets: Mapping[str, int],
        messaging: MessagingSettings,
        kafka: KafkaSettings | None,
        checks: Callable[[MessagingService], dict[str, Check]],
        documented: Mapping[str, str],
        announce: Announce | None = None,
        redis: RedisSettings | None = None,
    ) -> None:
        self._settings = settings
        self._server = server
        self._names = names
        self._blueprint = blueprint
        self._progress = progress
        self._messaging_settings = messaging
        self._kafka = kafka
        self._checks = checks
        self._tokens = token_settings(settings)
        self._clock = SystemClock()
        self._limited: EdgeLimits = edge_limits(
            redis, clock=self._clock, random=SystemRandom().random
        )
        self._sockets: dict[int, socket.socket] = {}
        self._servers: list[HttpServer] = []
        self._healths: list[Health] = []
        self._messaging: MessagingService | None = None
        self._built: BuiltAccounts | None = None
        self._gateway: gateway.GatewayApplication | None = None
        self._announce = announce
        self._documented = {**documented, accounts.DATABASE: accounts.NAME}
        also = {accounts.DATABASE: ACCOUNTS_OFFSET} if settings.accounts else {}
        self._offsets = {**offsets, **also}
        self._upstreams = gateway_settings(settings, {**offsets, **also})
        if ACCOUNTS in names and not isinstance(server, EmbeddedPostgres) and server.on_mysql:
            raise ConfigurationError(
                "the accounts service needs PostgreSQL: take another issuer by "
                "WAYBILL_TOKENS_ISSUER, or ask for no tokens by WAYBILL_EDGE=false"
            )

    def bind(self, stack: AsyncExitStack) -> None:
        """Take the ports. Raises ConfigurationError: one is in use."""
        settings, wanted = self._settings, {}
        if ACCOUNTS in self._names:
            wanted[ACCOUNTS_OFFSET] = settings.host
        if GATEWAY in self._names:
            wanted |= {GATEWAY_OFFSET: settings.host, OPERATIONS_OFFSET: LOOPBACK}
        for offset, host in wanted.items():
            self._sockets[offset] = bind(settings.port_base + offset, host=host)
            stack.callback(self._sockets[offset].close)

    async def start(self) -> None:
        """Serve. The services run already."""
        if ACCOUNTS in self._names:
            with in_service(accounts.NAME):
                await self._start_accounts()
        if GATEWAY in self._names:
            with in_service(gateway.NAME):
                await self._start_gateway()

    async def stop(self) -> None:
        """Readiness red, finish requests, close. May be repeated."""
        for health in self._healths:
            health.draining = True
        for server in reversed(self._servers):
            await server.stop()
        self._servers.clear()
        if self._gateway is not None:
            await self._gateway.close()
        if self._messaging is not None:
            await self._messaging.stop()
            self._messaging = None
        if self._built is not None:
            self._built.close()
        await self._limited.close()

    async def _start_accounts(self) -> None:
        if self._tokens is None:
            raise ConfigurationError("the accounts service has no issuer")
        if isinstance(self._server, EmbeddedPostgres):
            await provision_optional(self._server, accounts.DATABASE)
        else:
            await prepare(
                *(self._server, (accounts.DATABASE,)),
                blueprint=self._blueprint,
                progress=self._progress,
            )
        metrics = ServiceMetrics(accounts.NAME, version=version("waybill"), saga=_NO_SAGA)
        urls = urls_of(self._server, accounts.DATABASE)
        messaging = MessagingService(
            accounts.NAME,
            url=urls.service,
            owner_url=urls.owner,
            codec=accounts.codec(),
            settings=self._messaging_settings,
            observer=metrics,
            notify=False,
            kafka=self._kafka,
            publishes=(accounts.TOPIC,),
        )
        self._messaging = messaging
        await messaging.connect()
        built = accounts.build(
            messaging.ports,
            account_settings(self._tokens),
            proxies=networks(accounts_proxies(self._settings)),
            limits=self._limited.limits,
        )
        self._built = built
        messaging.every(accounts.PURGE_SECONDS, "session purge", built.accounts.purge)
        messaging.start()
        health = Health(self._checks(messaging) | self._limited.checks)
        parts = HttpParts(
            title=accounts.NAME,
            version=version("waybill"),
            health=health,
            registry=metrics.registry,
            observer=metrics,
            now=self._clock.now,
            limits=self._limits,
        )
        self._healths.append(health)
        application = create_application(built.surface, parts)
        server = HttpServer(application, self._sockets[ACCOUNTS_OFFSET], self._limits)
        await self._serve(server)
        if self._announce is not None:
            await self._announce(accounts.NAME, server.port, health)

    async def _start_gateway(self) -> None:
        metrics = ServiceMetrics(gateway.NAME, version=version("waybill"), saga=_NO_SAGA)
        application = gateway.GatewayApplication(
            self._upstreams,
            clock=self._clock,
            random=SystemRandom().random,
            observer=metrics,
            limits=self._limits,
            verifier=token_verifier(self._settings, self._clock),
            watch=watch_of(self._settings, self._documented, self._ports()),
            counts=self._limited.limits,
            checks=self._limited.checks,
        )
        self._gateway = application
        self._healths.append(application.health)
        await application.open()
        await self._serve(HttpServer(application, self._sockets[GATEWAY_OFFSET], self._limits))
        shown = gateway.operations(application.health, metrics.registry, metrics, self._clock.now)
        await self._serve(HttpServer(shown, self._sockets[OPERATIONS_OFFSET], self._limits))

    def _ports(self) -> dict[str, int]:
        """Where services are on this machine, by their documented names."""
        base = self._settings.port_base
        return {self._documented[name]: base + offset for name, offset in self._offsets.items()}

    async def _serve(self, server: HttpServer) -> None:
        self._servers.append(server)
        await server.start()
        logger.info("ready on http://%s:%s", self._settings.host, server.port)

    @property
    def _limits(self) -> HttpLimits:
        return HttpLimits(in_flight_max=self._settings.http_in_flight_max)

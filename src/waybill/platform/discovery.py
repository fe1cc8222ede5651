"""Discovery out of the platform's settings: our registry, our instances in one, and who asks it."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from waybill.edge.gateway.watching import Watch
from waybill.edge.registry.api import BASES, surface
from waybill.edge.registry.discovery import StaticDiscovery
from waybill.edge.registry.eureka import EurekaClient, EurekaDiscovery
from waybill.edge.registry.registration import Registration, RegistrationSettings
from waybill.edge.registry.registry import Registry
from waybill.edge.registry.store import MemoryStore
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.runtime.clock import SystemClock
from waybill.platform.extras import REDIS, extra
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Component, Health
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import HttpServer, bind
from waybill.platform.metrics import ServiceMetrics
from waybill.platform.outside import Outside
from waybill.platform.own_databases import secret
from waybill.platform.service_context import in_service
from waybill.platform.settings import is_loopback, reached_at, variable_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack

    from waybill.edge.gateway.upstreams import Upstream
    from waybill.edge.registry.discovery import Discovery
    from waybill.edge.registry.store import RegistryStore
    from waybill.platform.settings import Settings

NAME: Final = "registry"
OFFSET: Final = 8
"""Its port above the base, if none is named."""
PASSWORD: Final = "REGISTRY_PASSWORD"  # noqa: S105 - a variable's name
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - told apart, not listened on


def registry_port(settings: Settings) -> int:
    """Where our registry listens."""
    return settings.registry_port or settings.port_base + OFFSET


def registry_urls(settings: Settings) -> tuple[str, ...]:
    """Registries that are asked and told; ours, if none is named and it is on."""
    named = tuple(url.strip() for url in settings.registry_urls.split(",") if url.strip())
    if named or not settings.registry:
        return named
    return (f"http://{reached_at(settings.host)}:{registry_port(settings)}{BASES[0]}",)


def eureka_client(settings: Settings) -> EurekaClient:
    """A client of those. Raises ConfigurationError."""
    return EurekaClient(
        registry_urls(settings), user=settings.registry_user, password=registry_password()
    )


def registry_password() -> str:
    """What our registry asks for, and what its clients show; "" without one."""
    mistakes: list[str] = []
    found = secret(os.environ, PASSWORD, mistakes)
    if mistakes:
        raise ConfigurationError("wrong settings: " + "; ".join(mistakes))
    return found or ""


def discovery_of(settings: Settings, ports: Mapping[str, int]) -> Discovery:
    """How services are found; `ports` of this machine by their documented names.

    Raises ConfigurationError.
    """
    kind = settings.discovery
    if kind == "eureka" or (kind == "auto" and registry_urls(settings)):
        return EurekaDiscovery(eureka_client(settings))
    if kind == "dns":
        with extra("dns", f"{variable_of('discovery')} is dns"):
            from waybill.edge.registry.dns_discovery import DnsDiscovery  # noqa: PLC0415 - an extra
        return DnsDiscovery(settings.discovery_dns_name, server=settings.discovery_dns_server)
    host = reached_at(settings.host)
    here = {name: (f"http://{host}:{port}",) for name, port in ports.items()}
    return StaticDiscovery({**here, **_listed(settings, ports)})


def watch_of(
    settings: Settings, names: Mapping[str, str], ports: Mapping[str, int]
) -> Callable[[Mapping[str, Upstream]], Watch]:
    """Keeps a gateway's upstreams; `names` are documented ones by the upstreams' keys."""
    discovery = discovery_of(settings, ports)

    def watch(upstreams: Mapping[str, Upstream]) -> Watch:
        return Watch(
            discovery,
            upstreams,
            names=names,
            clock=SystemClock(),
            refresh_seconds=settings.discovery_refresh_seconds,
            keep_seconds=settings.discovery_keep_seconds,
        )

    return watch


def _listed(settings: Settings, known: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in filter(None, map(str.strip, settings.discovery_addresses.split(","))):
        name, equals, url = text.partition("=")
        if not equals or name not in known:
            raise ConfigurationError(
                f"{variable_of('discovery_addresses')}: {text!r} is not service=http://host:port "
                f"with one of {', '.join(known)}"
            )
        found[name] = (*found.get(name, ()), url)
    return found


def registration_of(settings: Settings) -> Registration:
    """Puts this process' services into the registries. Raises ConfigurationError."""
    host = settings.registry_host or settings.host
    if host in _WILDCARDS:
        raise ConfigurationError(
            f"{variable_of('host')} {host} is no address that others could call: set "
            f"{variable_of('registry_host')} to the one that they reach this machine by"
        )
    if settings.registry_drain_seconds < settings.discovery_refresh_seconds:
        raise ConfigurationError(
            f"{variable_of('registry_drain_seconds')} must be at least "
            f"{variable_of('discovery_refresh_seconds')}: else requests come after the end"
        )
    chosen = RegistrationSettings(
        host=host,
        heartbeat_seconds=settings.registry_heartbeat_seconds,
        lease_seconds=settings.registry_lease_seconds,
        drain_seconds=settings.registry_drain_seconds,
    )
    return Registration(eureka_client(settings), chosen, clock=SystemClock())


class RegistryServer:
    """Our registry: `bind`, `start`, `stop`, in this order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._password = registry_password()
        self._clock = SystemClock()
        self._socket: socket.socket | None = None
        self._server: HttpServer | None = None
        self._store: RegistryStore | None = None
        if not (self._password or settings.insecure or is_loopback(settings.host)):
            raise ConfigurationError(
                f"the registry on {settings.host} would believe everybody where services are: "
                f"set {PASSWORD} (or {PASSWORD}_FILE), or {variable_of('insecure')}=true"
            )

    @property
    def url(self) -> str:
        """What a client on this machine is given."""
        host = reached_at(self._settings.host)
        return f"http://{host}:{registry_port(self._settings)}{BASES[0]}"

    def bind(self, stack: AsyncExitStack) -> None:
        """Take the port. Raises ConfigurationError: it is in use."""
        self._socket = bind(registry_port(self._settings), host=self._settings.host)
        stack.callback(self._socket.close)

    async def start(self) -> None:
        """Serve."""
        if self._socket is None:
            raise ConfigurationError("the registry has no port: call bind() first")
        store = _store(Outside.from_environment(os.environ))
        self._store = store

        async def stored() -> Component:
            await store.get("")
            return Component("UP")

        registry = Registry(store, now=self._clock.now)
        metrics = ServiceMetrics(NAME, version=version("waybill"), saga="none")
        limits = HttpLimits(in_flight_max=self._settings.http_in_flight_max)
        parts = HttpParts(
            title=NAME,
            version=version("waybill"),
            health=Health({"store": stored}),
            registry=metrics.registry,
            observer=metrics,
            now=self._clock.now,
            limits=limits,
        )
        routes = surface(registry, user=self._settings.registry_user, password=self._password)
        with in_service(NAME):
            self._server = HttpServer(create_application(routes, parts), self._socket, limits)
            await self._server.start()

    async def stop(self) -> None:
        """Finish requests, close. May be repeated."""
        if self._server is not None:
            await self._server.stop()
            self._server = None
        if self._store is not None:
            await self._store.close()
            self._store = None


def _store(outside: Outside) -> RegistryStore:
    """In Redis where REDIS_* names one, so that registries share it; else in this process."""
    if outside.redis is None:
        return MemoryStore()
    with extra("redis", REDIS):
        from waybill.edge.registry.redis_store import RedisStore  # noqa: PLC0415 - an extra
    return RedisStore(outside.redis.url, prefix=outside.redis.prefix)

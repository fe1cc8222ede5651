"""The gateway's application and server: the edge around it, and operations on a port of their own.

Outside reaches routed paths, `/livez` and `/readyz`; metrics and the rest are on loopback only.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from waybill.commerce.http.surface import Surface
from waybill.edge.gateway.forwarding import Forwarding
from waybill.edge.gateway.gateway import ROUTE_KEY, Gateway
from waybill.edge.gateway.proxy import Proxy
from waybill.edge.gateway.routes import ROUTES, RouteSet
from waybill.edge.gateway.upstreams import Upstream
from waybill.edge.limits.memory import MemoryLimits
from waybill.messaging.core.identity import BufferedRandomBits, new_id
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.edge import Edge
from waybill.platform.http.health import Health
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.problems import ProblemWriter
from waybill.platform.http.routes import UNKNOWN, RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from prometheus_client import CollectorRegistry
    from starlette.types import ASGIApp, Receive, Scope, Send

    from waybill.edge.gateway.routes import Route
    from waybill.edge.gateway.settings import GatewaySettings
    from waybill.edge.gateway.watching import Watch
    from waybill.edge.limits.ports import Limits
    from waybill.edge.tokens.bearer import Verifier
    from waybill.messaging.runtime.clock import Clock
    from waybill.platform.http.health import Check
    from waybill.platform.http.observation import HttpObserver

NAME: Final = "gateway"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ASKED: Final = ("Authorization", "Content-Type", "Idempotency-Key", "X-Correlation-ID")
_SHOWN: Final = (
    "Idempotent-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Correlation-ID",
    "traceresponse",
)
"""What a browser's page may ask with, and see of an answer."""


class _Labels(RouteTable):
    """Metrics by the gateway's own table: a prefix, never a path."""

    def __init__(self) -> None:
        super().__init__(())

    def template(self, scope: Scope) -> str:
        """The prefix that was found."""
        prefix: str = scope.get(ROUTE_KEY, UNKNOWN)
        return prefix


class GatewayApplication:
    """An ASGI application; `open` before it serves, `close` after.

    Without `counts` each gateway counts its requests for itself.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: HttpObserver,
        routes: Iterable[Route] = ROUTES,
        limits: HttpLimits | None = None,
        verifier: Verifier | None = None,
        watch: Callable[[Mapping[str, Upstream]], Watch] | None = None,
        counts: Limits | None = None,
        checks: Mapping[str, Check] | None = None,
    ) -> None:
        self.health = Health(dict(checks or {}))
        self.upstreams = {
            name: Upstream(name, urls, random=random, monotonic=clock.monotonic)
            for name, urls in settings.upstreams.items()
        }
        self._watch = watch(self.upstreams) if watch is not None else None
        self._watching: asyncio.Task[None] | None = None
        self._proxy = Proxy(settings)
        gateway = Gateway(
            RouteSet(routes),
            Forwarding(self.upstreams, self._proxy),
            settings,
            limits=counts or MemoryLimits(monotonic=clock.monotonic),
            new_id=new_id,
            verifier=verifier,
        )
        labels = _Labels()
        edge = Edge(
            routes=labels,
            problems=ProblemWriter(labels, clock.now),
            observer=observer,
            limits=limits or HttpLimits(),
            random_bits=BufferedRandomBits(),
            admit_write=lambda: None,
        )
        self._serve = _with_cors(edge.around(self._with_health(gateway)), settings)

    async def open(self) -> None:
        """Make the client of the services, and find them; connections come with requests."""
        await self._proxy.open()
        if self._watch is not None:
            await self._watch.refresh()
            self._watching = asyncio.create_task(self._watch.run(), name="discovery")

    async def close(self) -> None:
        """Close the connections to the services. May be repeated."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            self._watching = None
        if self._watch is not None:
            await self._watch.close()
        await self._proxy.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._serve(scope, receive, send)

    def _with_health(self, gateway: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            """Its own state only: a service that is down is no reason to restart a gateway."""
            if scope["path"] not in {"/livez", "/readyz"}:
                await gateway(scope, receive, send)
                return
            scope[ROUTE_KEY] = scope["path"]
            alive = scope["path"] == "/livez"
            found = self.health.liveness() if alive else await self.health.readiness()
            answer = JSONResponse({"status": found.status}, found.http_status)
            await answer(scope, receive, send)

        return serve


def _with_cors(app: ASGIApp, settings: GatewaySettings) -> ASGIApp:
    if not settings.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_methods=_METHODS,
        allow_headers=_ASKED,
        expose_headers=_SHOWN,
        max_age=600,
    )


def operations(
    health: Health, registry: CollectorRegistry, observer: HttpObserver, now: Callable[[], datetime]
) -> ASGIApp:
    """The gateway's actuator and metrics, for a port that only this machine reaches."""
    parts = HttpParts(
        title=NAME,
        version=version("waybill"),
        health=health,
        registry=registry,
        observer=observer,
        now=now,
    )
    return create_application(Surface(routes=[]), parts)

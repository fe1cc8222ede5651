"""The application around a service's routes: what the platform serves on one port."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from waybill.commerce.http.problem import Problem
from waybill.messaging.core.errors import OutcomeUnknownError, OverloadedError, TransientError
from waybill.messaging.core.identity import BufferedRandomBits
from waybill.messaging.runtime.tracing import active_tracer
from waybill.platform.http import actuator, openapi, swagger
from waybill.platform.http.edge import API, Edge
from waybill.platform.http.guard import Guard
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.problems import ProblemWriter
from waybill.platform.http.routes import HotTable, RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from fastapi.telemetry import TelemetryConfig
    from prometheus_client import CollectorRegistry
    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send

    from waybill.commerce.http.surface import Surface
    from waybill.edge.tokens.bearer import Verifier
    from waybill.platform.http.health import Health
    from waybill.platform.http.observation import HttpObserver

_HANDLED: tuple[type[Exception], ...] = (
    Problem,
    HTTPException,
    RequestValidationError,
    OverloadedError,
    TransientError,
    OutcomeUnknownError,
)
# Spans only, when a provider is set up: metrics are the observer's, logs would quote values.
_TELEMETRY: TelemetryConfig = {
    "tracing": True,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: not str(scope.get("path", "")).startswith((*API, "/notify")),
}


@dataclass(frozen=True, kw_only=True)
class HttpParts:
    """What an application is made of, besides its service's routes."""

    title: str
    version: str
    health: Health
    registry: CollectorRegistry
    observer: HttpObserver
    now: Callable[[], datetime]
    info: Mapping[str, object] = field(default_factory=dict)
    limits: HttpLimits = field(default_factory=HttpLimits)
    random_bits: Callable[[int], int] = field(default_factory=BufferedRandomBits)
    admit_write: Callable[[], None] = lambda: None
    """Called before every request that changes something; OverloadedError refuses it (I5)."""
    verifier: Verifier | None = None
    """Says who calls; None: nobody is asked."""


def create_application(surface: Surface, parts: HttpParts) -> FastAPI:
    """The service's routes, documentation and actuator behind the edge. CORS stays off.

    Tracing is set up before, or not at all.
    """
    specification = _Specification()
    described: list[BaseRoute] = [
        *surface.routes,
        *actuator.router(health=parts.health, info=parts.info, registry=parts.registry).routes,
        *swagger.router().routes,
        *specification.router().routes,
    ]
    hot: list[BaseRoute] = [
        Route(route.path, route.endpoint, methods=[route.method]) for route in surface.hot
    ]
    # Flat, hot routes first: an included router would be matched twice on the way.
    routes = [*hot, *described]
    specification.fill(surface, parts, described)
    table = RouteTable(routes)
    problems = ProblemWriter(table, parts.now)
    edge = Edge(
        routes=table,
        problems=problems,
        observer=parts.observer,
        limits=parts.limits,
        random_bits=parts.random_bits,
        admit_write=parts.admit_write,
        authorize=Guard(surface, parts.verifier).authorize if parts.verifier else None,
    )
    return _Application(
        edge=edge,
        # A span around a hot route is FastAPI's, as around every other.
        hot=HotTable(surface.hot if active_tracer() is None else ()),
        title=parts.title,
        version=parts.version,
        openapi_url=None,
        routes=routes,
        redirect_slashes=False,
        telemetry=_TELEMETRY,
        middleware=[Middleware(edge.around)],
        exception_handlers=dict.fromkeys(_HANDLED, problems.handle),
    )


class _Application(FastAPI):
    """Hot routes go from the edge to their endpoint, all others through FastAPI's stack."""

    def __init__(self, *, edge: Edge, hot: HotTable, **named: Any) -> None:  # noqa: ANN401 - FastAPI's own
        super().__init__(**named)
        self._edge = edge
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (endpoint := self._hot.find(scope)) is not None:
            await self._edge.serve(endpoint, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class _Specification:
    """The OpenAPI document; it describes its own address too, so it is filled afterwards."""

    def __init__(self) -> None:
        self._document = b""

    def router(self) -> APIRouter:
        routes = APIRouter(tags=["documentation"])

        @routes.get(
            "/api-docs",
            operation_id="getApiDocs",
            summary="This document (OpenAPI 3.1)",
            responses={200: {"description": "OpenAPI"}},
        )
        async def get_document() -> Response:
            return Response(self._document, media_type="application/json")

        return routes

    def fill(self, surface: Surface, parts: HttpParts, described: Sequence[BaseRoute]) -> None:
        made = openapi.document(
            title=parts.title,
            version=parts.version,
            description="Errors are problem+json (RFC 9457) with a stable `code`.",
            routes=described,
            hot=surface.hot,
            structs=[*surface.structs, *actuator.STRUCTS],
            tokens=parts.verifier is not None,
        )
        self._document = msgspec.json.encode(made)

"""What the gateway decides about one request: where to, whose it is, and how often they may."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from waybill.commerce.http.body import ClientGoneError
from waybill.commerce.http.problem import Problem
from waybill.commerce.http.trace import traceparent_of
from waybill.edge.address import client_address
from waybill.edge.gateway.forwarding import Client
from waybill.edge.gateway.headers import CORRELATION_ID, accepted_correlation, request_headers
from waybill.edge.gateway.proxy import Passing
from waybill.edge.gateway.routes import Access, plain_path
from waybill.edge.tokens.bearer import caller_in, unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from starlette.types import Receive, Scope, Send

    from waybill.commerce.http.caller import Caller
    from waybill.edge.gateway.forwarding import Forwarding
    from waybill.edge.gateway.headers import Header
    from waybill.edge.gateway.routes import Route, RouteSet
    from waybill.edge.gateway.settings import GatewaySettings
    from waybill.edge.limits.ports import Limits, Taken
    from waybill.edge.tokens.bearer import Verifier

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2."""
ROUTE_KEY: Final = "waybill.route"
"""Where the scope says which route it was: the label of its metrics."""


class Gateway:
    """A plain ASGI application; the edge stands around it, as around every service.

    Without a verifier nobody is asked for a token, and nobody is named to the services.
    """

    def __init__(
        self,
        routes: RouteSet,
        forwarding: Forwarding,
        settings: GatewaySettings,
        *,
        limits: Limits,
        new_id: Callable[[], UUID],
        verifier: Verifier | None = None,
    ) -> None:
        self._routes = routes
        self._forwarding = forwarding
        self._settings = settings
        self._new_id = new_id
        self._verifier = verifier
        self._by_address = limits.buckets(settings.address)
        self._by_subject = limits.buckets(settings.subject)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises Problem, which the edge answers."""
        correlation_id = accepted_correlation(scope["headers"]) or str(self._new_id()).encode()
        shown: list[Header] = [(CORRELATION_ID, correlation_id)]
        try:
            route = self._route(scope)
            address = client_address(scope, self._settings.proxies)
            shown += _within(await self._by_address.take(address))
            caller = await self._caller(route, scope)
            if caller is not None:
                shown[1:] = _within(await self._by_subject.take(caller.subject))
            headers = request_headers(
                scope["headers"],
                subject=caller.subject if caller is not None else None,
                address=address,
                scheme=scope.get("scheme", "http"),
                host=_header(scope, b"host"),
                correlation_id=correlation_id,
                traceparent=traceparent_of(scope),
            )
            body = await self._body(scope, receive)
            again = _is_repeatable(route, scope)
            passing = Passing(scope["method"], _target(scope), headers, body, again)
            await self._forwarding.forward(route.service, passing, Client(receive, send), shown)
        except Problem as problem:
            for name, value in shown:
                problem.headers.setdefault(name.decode(), value.decode())
            raise

    def _route(self, scope: Scope) -> Route:
        route = self._routes.find(plain_path(scope))
        if route is None:
            raise Problem(404, "not_found", "There is nothing at this address")
        scope[ROUTE_KEY] = route.prefix
        return route

    async def _caller(self, route: Route, scope: Scope) -> Caller | None:
        """A token that is given must be good, also where none is needed."""
        if self._verifier is None:
            return None
        caller = await caller_in(scope["headers"], self._verifier)
        if caller is None and route.access is Access.TOKEN:
            raise unauthorized(given=False)
        return caller

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Whole, within its bound; the connection bounds its time. Raises ClientGoneError."""
        limit = self._settings.request_bytes_max
        # The server has parsed the length already: it is digits.
        if int(_header(scope, b"content-length") or b"0") > limit:
            raise _too_large(limit)
        body: bytes = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return body


def _within(taken: Taken) -> list[Header]:
    """What the answer says of the quota. Raises Problem 429 beyond it."""
    headers = {"ratelimit-policy": taken.quota.policy, "ratelimit": taken.limit}
    if taken.wait_seconds > 0:
        raise Problem(
            429,
            "quota_exceeded",
            f"More than {taken.quota.count} requests in {taken.quota.window_seconds} seconds",
            headers={**headers, "retry-after": str(max(1, math.ceil(taken.wait_seconds)))},
        )
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _is_repeatable(route: Route, scope: Scope) -> bool:
    if scope["method"] in _IDEMPOTENT:
        return True
    return route.keyed and scope["method"] == "POST" and bool(_header(scope, b"idempotency-key"))


def _target(scope: Scope) -> str:
    """The path and query as the client spelt them."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


def _header(scope: Scope, name: bytes) -> bytes:
    found: bytes = next((value for known, value in scope["headers"] if known == name), b"")
    return found


def _too_large(limit: int) -> Problem:
    # The rest of the body is not read, so the connection cannot be used again.
    return Problem(
        413, "body_too_large", f"A body may have {limit} bytes", headers={"Connection": "close"}
    )

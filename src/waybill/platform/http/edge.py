"""The edge: what holds for every request, whatever its route.

A trace context, a bounded number of requests at once by priority, safe headers on every answer,
one report to the observer, and no exception that leaves as anything but a problem.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from waybill.commerce.http.body import ClientGoneError
from waybill.commerce.http.negotiation import require_json_acceptable
from waybill.commerce.http.problem import Problem
from waybill.commerce.http.trace import SCOPE_KEY, current_traceparent, trace_id_of
from waybill.messaging.core.errors import OutcomeUnknownError, OverloadedError, TransientError
from waybill.platform.service_context import bound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from waybill.platform.http.limits import HttpLimits
    from waybill.platform.http.observation import HttpObserver
    from waybill.platform.http.problems import ProblemWriter
    from waybill.platform.http.routes import RouteTable

logger = logging.getLogger(__name__)

_API_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
]
_PLAIN = 3
"""Type, length and traceresponse: an answer with more headers may have one of ours already."""
API = ("/api/", "/order", "/product", "/checkout")
"""Where paths begin of what is JSON and may be shed; the rest are operations and documentation."""
_CORRELATION_CHARACTERS_MAX = 128
EXPECTED = (Problem, OverloadedError, TransientError, OutcomeUnknownError)
"""Errors that say all there is to say: answered, not logged."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """What every application of one port stands behind: hot routes, and the framework's stack."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        problems: ProblemWriter,
        observer: HttpObserver,
        limits: HttpLimits,
        random_bits: Callable[[int], int],
        admit_write: Callable[[], None],
        authorize: Callable[[Scope], Awaitable[None]] | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = routes
        self._problems = problems
        self._observer = observer
        self._random_bits = random_bits
        self._admit_write = admit_write
        self._authorize = authorize
        self._timer = timer
        self._in_flight = 0
        self._read_max = limits.in_flight_max
        self._change_max = int(limits.in_flight_max * limits.in_flight_share_change)
        self._new_max = int(limits.in_flight_max * limits.in_flight_share_new)

    def around(self, app: ASGIApp) -> ASGIApp:
        """As middleware: this application behind the edge."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await self.serve(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return serve

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by this application."""
        started = self._timer()
        headers = dict(scope["headers"])
        traceparent = current_traceparent(headers.get(b"traceparent"), self._random_bits)
        answer = _Answer(send, traceparent, head=scope["method"] == "HEAD")
        # The server keeps its own scope: it must still see HEAD, the routes see GET.
        inner = dict(scope, method="GET") if answer.head else scope
        inner[SCOPE_KEY] = traceparent
        self._in_flight += 1
        try:
            with bound(trace_id=trace_id_of(traceparent), **_correlation(headers)):
                await self._guarded(app, inner, receive, answer, headers.get(b"accept"))
        finally:
            self._in_flight -= 1
            method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
            route = self._routes.template(inner)
            self._observer.responded(method, route, answer.status, self._timer() - started)

    async def _guarded(
        self, app: ASGIApp, scope: Scope, receive: Receive, answer: _Answer, accept: bytes | None
    ) -> None:
        try:
            self._admit(scope)
            if scope["path"].startswith(API):
                require_json_acceptable(accept)
            if self._authorize is not None:
                await self._authorize(scope)
            await app(scope, receive, answer.send)
        except ClientGoneError:
            answer.status = 499
        except asyncio.CancelledError:
            # Only the server's stop cancels requests, when its graceful time is over; this task
            # ends here anyway, so the last it does is to tell the client what it can know.
            if answer.status:
                raise
            error = OutcomeUnknownError("the server stopped")
            await self._problems.write(error, scope, receive, answer.send)
        except Exception as error:
            if not isinstance(error, EXPECTED):
                logger.exception("A request failed")
            if answer.status:
                raise  # half an answer went out: the server must break the connection
            await self._problems.write(error, scope, receive, answer.send)

    def _admit(self, scope: Scope) -> None:
        """Shed by priority. Health answers at any load, on a full machine above all."""
        if scope["method"] not in _READS:
            self._admit_write()
        if self._in_flight <= self._new_max:
            return
        path: str = scope["path"]
        if scope["method"] in _READS:
            allowed = self._read_max if path.startswith(API) else self._in_flight
        else:
            allowed = self._change_max if path.endswith("/cancel") else self._new_max
        if self._in_flight > allowed:
            raise Problem(
                503, "overloaded", "Too many requests at once", headers={"Retry-After": "1"}
            )


class _Answer:
    """Adds the edge's headers to the response; remembers its status; keeps HEAD's body back."""

    __slots__ = ("_send", "_traceparent", "head", "status")

    def __init__(self, send: Send, traceparent: str, *, head: bool) -> None:
        self._send = send
        self._traceparent = traceparent
        self.head = head
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"traceresponse", self._traceparent.encode())]
            if len(headers) <= _PLAIN:
                headers += _API_HEADERS
            else:
                present = {name for name, _ in headers}
                headers += [header for header in _API_HEADERS if header[0] not in present]
            message["headers"] = headers
        elif self.head and message.get("body"):
            message = {**message, "body": b""}
        await self._send(message)


def _correlation(headers: dict[bytes, bytes]) -> dict[str, str]:
    """The caller's X-Correlation-ID, for logs only: printable, bounded, or not at all."""
    value = headers.get(b"x-correlation-id")
    if value is None or len(value) > _CORRELATION_CHARACTERS_MAX:
        return {}
    text = value.decode("latin-1")
    return {"correlation_id": text} if text.isascii() and text.isprintable() else {}

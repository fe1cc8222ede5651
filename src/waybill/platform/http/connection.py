"""One HTTP/1.1 connection: bounds on a head's size and a request's time, requests in their order.

A sender that trickles holds a connection for a bounded time and nothing else. It stands in
uvicorn's protocol's place, which takes twice the CPU for a request (ADR 0024).
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
import msgspec

from waybill.commerce.http.problem import MEDIA_TYPE
from waybill.platform.http.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Scope
    from uvicorn import Config
    from uvicorn.server import ServerState

    from waybill.platform.http.limits import HttpLimits


def _closing(status: int, code: str, detail: str) -> bytes:
    """An answer to what never became a request: it has no path and no trace."""
    phrase = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {
            "type": f"urn:waybill:problem:{code}",
            "title": phrase,
            "status": status,
            "detail": detail,
            "code": code,
        }
    )
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nconnection: close\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


BAD_REQUEST = _closing(400, "malformed_request", "This is not HTTP/1.1")
TIMEOUT = _closing(408, "request_timeout", "The request did not arrive in time")
HEAD_TOO_LARGE = _closing(431, "head_too_large", "The request's head is too large")
TOO_MANY = _closing(503, "overloaded", "Too many connections")


class HttpConnection(asyncio.Protocol):
    """httptools' parser and what it reads: one exchange is answered at a time, others wait.

    Made by uvicorn's server; `bounded_protocol` gives a server's class its limits.
    """

    limits: HttpLimits
    transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - a lifespan's, and there is none
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._application: ASGIApp = config.loaded_app
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # What stands behind a request that closes is dropped, and the request answered.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._deadline = _Deadline(self._loop, self._overdue)
        self._owes = False
        """The client has begun a request, or should have."""
        self._in_head = self._complete = True
        self._head_bytes = 0
        self._reading: Exchange | None = None
        self._answering: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._read_paused = self.write_paused = False
        self._drained: asyncio.Future[None] | None = None

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A new connection owes us a request from now on."""
        self.transport = transport = cast("asyncio.Transport", transport)
        self._base: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "server": _address(transport, "sockname"),
            "client": _address(transport, "peername"),
            "scheme": "http",
            "root_path": "",
        }
        self._state.connections.add(self)  # type: ignore[arg-type]  # it serves like uvicorn's
        if len(self._state.connections) > self.limits.connections_max:
            self._refuse(TOO_MANY)
        else:
            self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an incomplete head; a request that is not all here gets a time."""
        if not self._owes:
            self._deadline.clear()
        self._complete = False
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # a server may ignore it (RFC 9110, 7.8); the request is served
        except httptools.HttpParserError:
            self._answer_and_close(BAD_REQUEST)
            return
        if self._in_head and self._head_bytes > self.limits.head_bytes_max:
            self._refuse(HEAD_TOO_LARGE)
        elif not self._owes and not self._complete:
            self._expect_request()

    def pause_writing(self) -> None:
        """The client takes less than was written."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """It has taken enough."""
        self.write_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """Nothing is owed any more."""
        self._state.connections.discard(self)
        self._deadline.close()
        for exchange in (self._answering, self._reading, *self._waiting):
            if exchange is not None:
                exchange.lost()
        self._waiting.clear()
        self.resume_writing()

    # What the parser finds

    def on_message_begin(self) -> None:
        """A request begins."""
        self._complete = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._wants_continue = False

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._wants_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is here: it is answered, or waits for the answers before it."""
        self._in_head = False
        self._head_bytes = 0
        version = self._parser.get_http_version()
        self._reading = exchange = Exchange(
            self,
            self._scope(version),
            keep_alive=version != "1.0" and self._parser.should_keep_alive(),
            wants_continue=self._wants_continue,
        )
        if self._answering is None:
            self._answer(exchange)
        else:
            self.pause_reading()
            self._waiting.append(exchange)

    def on_body(self, body: bytes) -> None:
        """A piece of its body; of no use to an answer that is over."""
        if self._reading is not None and not self._reading.complete:
            self._reading.received(body)

    def on_message_complete(self) -> None:
        """Nothing is owed until the next byte comes."""
        self._in_head = self._complete = True
        self._owes = False
        self._deadline.clear()
        if self._reading is not None:
            self._reading.ended()

    def _scope(self, version: str) -> Scope:
        url = self._url
        if url.startswith(b"/") and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        return {
            **self._base,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
        }

    # What an exchange asks for

    def write(self, data: bytes) -> None:
        """Send these bytes, unless the connection is gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def pause_reading(self) -> None:
        """Read nothing more for now."""
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    async def drain(self) -> None:
        """Returns when the client has taken enough, or is gone."""
        while self.write_paused:
            self._drained = self._loop.create_future()
            await self._drained

    def finished(self, *, keep: bool) -> None:
        """The answer is over: the next one, or time to wait for a request."""
        self._answering = None
        if self.transport.is_closing():
            return
        if not keep:
            self.transport.close()
        elif self._waiting:
            self._answer(self._waiting.popleft())
        else:
            self.resume_reading()
            if not self._owes:
                self._deadline.set(self.limits.keep_alive_seconds)

    def shutdown(self) -> None:
        """Close, after the answers to what was received."""
        last = self._waiting[-1] if self._waiting else self._answering
        if last is None:
            self.transport.close()
        else:
            last.keep_alive = False

    def _answer(self, exchange: Exchange) -> None:
        self._answering = exchange
        task = self._loop.create_task(exchange.run(self._application))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    # Bounds

    def _expect_request(self) -> None:
        self._owes = True
        self._deadline.set(self.limits.request_seconds_max)

    def _overdue(self) -> None:
        if not self._owes:
            self.transport.close()  # nobody asked anything for the time of a keep-alive
        elif self._in_head and self._answering is not None:
            self._expect_request()  # a head sent ahead waits for our own answer, not for its sender
        else:
            self._refuse(TIMEOUT)

    def _refuse(self, answer: bytes) -> None:
        if self._in_head or self._reading is None or not self._reading.started:
            self.write(answer)
        self.transport.close()

    def _answer_and_close(self, answer: bytes) -> None:
        self.write(answer)
        self.transport.close()


class _Deadline:
    """One timer a connection, moved by a number: requests are many, time-outs are rare."""

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        self._loop = loop
        self._act = act
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, seconds: float) -> None:
        """Act in so many seconds, unless it is set again or cleared before."""
        self._at = self._loop.time() + seconds
        if self._timer is None or self._timer_at > self._at:
            self.close()
            self._arm(self._at)

    def clear(self) -> None:
        """Do not act."""
        self._at = None

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._loop.time() < self._at:
            self._arm(self._at)
        else:
            self._at = None
            self._act()


def _address(transport: asyncio.Transport, name: str) -> tuple[str, int] | None:
    found = transport.get_extra_info(name)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


def bounded_protocol(limits: HttpLimits) -> type[HttpConnection]:
    """The protocol class of one server (uvicorn makes the instances)."""
    return type("BoundedHttpConnection", (HttpConnection,), {"limits": limits})

"""One connection: bounds on a head's size and a request's time, and one write an answer.

A sender that trickles holds a connection for a bounded time and nothing else. Head and body of
an answer leave in one segment, which saves both sides a system call and a wake-up.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from waybill.commerce.http.problem import MEDIA_TYPE

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

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
_HEAD = b"HTTP/1.1 "
_INTERIM = b"HTTP/1.1 100"


class CoalescingTransport:
    """A transport that keeps an answer's head back until its body follows, or the loop turns."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the rest is the transport's own
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or keep back for the moment."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Write what is kept back, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class BoundedHttpProtocol(HttpToolsProtocol):
    """httptools' parser; the connection closes when a head is too big or a request too slow."""

    limits: HttpLimits
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _complete = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A new connection owes us a request from now on."""
        corked = CoalescingTransport(transport, self.loop)
        super().connection_made(corked)  # type: ignore[arg-type]  # it answers like one
        if len(self.connections) > self.limits.connections_max:
            self._refuse(TOO_MANY)
        else:
            self._arm()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an incomplete head; a request that is not all here gets a timer."""
        self._complete = False
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.limits.head_bytes_max:
            self._refuse(HEAD_TOO_LARGE)
        elif not self._complete and self._timer is None:
            self._arm()

    def on_headers_complete(self) -> None:
        """The head is here: its bytes no longer count."""
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Nothing is owed until the next byte comes."""
        super().on_message_complete()
        self._in_head = True
        self._complete = True
        self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is owed any more."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.limits.request_seconds_max, self._overdue)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        self._timer = None
        # uvicorn's annotation hides that there is no cycle before the first request.
        cycle: RequestResponseCycle | None = self.cycle
        if self._in_head and cycle is not None and not cycle.response_complete:
            self._arm()  # a pipelined head waits for our own answer, not for the sender
        else:
            self._refuse(TIMEOUT)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser's own words
        """What is no HTTP gets the shape of every other error."""
        self._answer_and_close(BAD_REQUEST)

    def _unsupported_upgrade_warning(self) -> None:
        """Ignored (RFC 9110, 7.8), and not logged: anybody could fill the log with it."""

    def _refuse(self, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head or not self.cycle.response_started:
            self._answer_and_close(answer)
        self.transport.close()

    def _answer_and_close(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()


def bounded_protocol(limits: HttpLimits) -> type[HttpToolsProtocol]:
    """The protocol class of one server (uvicorn makes the instances)."""
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), {"limits": limits})

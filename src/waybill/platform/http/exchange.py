"""One request and its answer, as ASGI sees them; the connection carries them.

Head and body of an answer leave in one write: a head waits for the first piece of its body, as
ASGI allows. An answer that is not as long as its head said breaks the connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Scope

logger = logging.getLogger(__name__)

BODY_WAITING_BYTES_MAX = 65_536
"""So much of a body may wait for the application; then nothing more is read."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BODILESS = frozenset({204, 304})
_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    write_paused: bool
    """The client takes less than was written: `drain` before the next write."""

    def write(self, data: bytes) -> None:
        """Send these bytes. Nothing happens if the connection is gone."""

    def pause_reading(self) -> None:
        """Read nothing more for now."""

    def resume_reading(self) -> None:
        """Read on."""

    async def drain(self) -> None:
        """Returns when the client has taken enough, or is gone."""

    def finished(self, *, keep: bool) -> None:
        """The answer is over. `keep`: the connection may carry another exchange."""


class Exchange:
    """One request and its answer."""

    def __init__(
        self, carrier: Carrier, scope: Scope, *, keep_alive: bool, wants_continue: bool
    ) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.gone = False
        """The client is."""
        self.started = self.complete = False
        """The answer is begun, over."""
        self._carrier = carrier
        self._wants_continue = wants_continue
        self._body = b""
        self._ended = self._delivered = False
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._chunked = False
        self._left = 0

    # What the connection tells

    def received(self, data: bytes) -> None:
        """A piece of the body."""
        self._body += data
        if len(self._body) > BODY_WAITING_BYTES_MAX:
            self._carrier.pause_reading()
        self._wake()

    def ended(self) -> None:
        """The body is complete."""
        self._ended = True
        self._wake()

    def lost(self) -> None:
        """The connection is gone."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the application calls

    async def run(self, application: ASGIApp) -> None:
        """Let the application answer. What it raises breaks the connection and is logged."""
        try:
            await application(self.scope, self.receive, self.send)
        except (Exception, asyncio.CancelledError):
            logger.exception("Exception in ASGI application")
        else:
            if not self.complete and not self.gone:
                logger.error("The application ended without an answer")
        if not self.complete:
            if not self.started or self._head:
                self._carrier.write(_FAILED)
            self._complete(keep=False)

    async def receive(self) -> Message:
        """The next piece of the body; `http.disconnect` when the client is gone or answered."""
        if self._wants_continue:
            self._wants_continue = False
            self._carrier.write(CONTINUE)
        while not (self.gone or self.complete):
            if self._body or (self._ended and not self._delivered):
                body, self._body = self._body, b""
                self._delivered = self._ended
                return {"type": "http.request", "body": body, "more_body": not self._ended}
            self._carrier.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The head, or a piece of the body, of the answer."""
        if self._carrier.write_paused:
            await self._carrier.drain()
        if self.gone:
            return
        if message["type"] == "http.response.start" and not self.started:
            self._begin(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self.started and not self.complete:
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} has no place in this answer")

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.started = True
        self._wants_continue = False
        lines = [_STATUS_LINES[status], date_line()]
        length = None
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                lines.pop()
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            length = 0
        elif length is None:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        self._left = length or 0
        self._head = b"".join(lines) + b"\r\n"
        if self._head.count(b"\n") > len(lines) + 1:
            raise RuntimeError("a header of this answer holds a line break")

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            piece = piece if more else piece + b"0\r\n\r\n"
        elif self.scope["method"] == "HEAD":
            piece = b""
        else:
            piece = body
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the answer is not as long as its content-length says")
        self._carrier.write(self._head + piece)
        self._head = b""
        if not more:
            self._complete(keep=self.keep_alive)

    def _complete(self, *, keep: bool) -> None:
        self.complete = True
        self._wake()
        self._carrier.finished(keep=keep)


class _Date:
    """The Date header, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def __call__(self) -> bytes:
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(usegmt=True)}\r\n".encode()
        return self._line


date_line = _Date()

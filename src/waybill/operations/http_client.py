"""A lean HTTP/1.1 client for the load generator: one keep-alive connection, one request at a time.

A general client costs as much CPU as the platform under test. This one speaks only what the
platform answers: a status line, headers with Content-Length, a body.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast


class Answer(NamedTuple):
    """Status, raw header block (lower case) and body of one response."""

    status: int
    head: bytes
    body: bytes


class NotConnectedError(ConnectionError):
    """No connection could be made: nothing was sent."""


class Connection(asyncio.Protocol):
    """One keep-alive connection. Not for concurrent use; reconnects after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._received = b""
        self.since: float | None = None
        """When the request under way was begun, on the loop's clock; None: there is none."""

    async def request(
        self, method: str, path: str, body: bytes = b"", *, headers: str = ""
    ) -> Answer:
        """Send and wait for the answer. Raises OSError; NotConnectedError if nothing was sent.

        `headers` is a block of complete lines, each ending in CRLF.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n"
        )
        return await self.exchange(head.encode() + body)

    async def exchange(self, request: bytes) -> Answer:
        """The same with the bytes of a whole request."""
        self.since = self._loop.time()
        try:
            if self._transport is None:
                await self._connect()
            assert self._transport is not None  # noqa: S101 - _connect raises otherwise
            self._answer = self._loop.create_future()
            self._transport.write(request)
            return await self._answer
        except asyncio.CancelledError:
            self.close()  # its answer would be taken for the next one's
            raise
        finally:
            self.since = self._answer = None

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: self, self._host, self._port)
        except OSError as error:
            raise NotConnectedError(str(error)) from error

    def close(self) -> None:
        """Close the connection; a request under way fails, the next one opens a new connection."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = None
        self._fail("closed here before an answer came")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: connected."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none by class
        self._received = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the other side closed, or the network did."""
        self._transport = None
        self._fail(str(exc or "closed before an answer came"))

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came."""
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end >= 0:
            head = received[: end + 4].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 : head.index(b"\r\n", start)]) if start >= 0 else 0
            if len(received) >= end + 4 + length:
                self._received = b""
                body = received[end + 4 : end + 4 + length]
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(Answer(int(head[9:12]), head, body))
                return
        self._received = received

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(why))

"""A lean HTTP/1.1 client for the load generator: one keep-alive connection, one request at a time.

A general client costs as much CPU as the platform under test. This one speaks only what the
platform answers: a status line, headers with Content-Length, a body.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple


class Answer(NamedTuple):
    """Status, raw header block (lower case) and body of one response."""

    status: int
    head: bytes
    body: bytes


class Connection:
    """One keep-alive connection. Not for concurrent use; reconnects after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self, method: str, path: str, body: bytes = b"", *, headers: str = ""
    ) -> Answer:
        """Send and wait for the answer. Raises OSError or asyncio.IncompleteReadError.

        `headers` is a block of complete lines, each ending in CRLF.
        """
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n"
        )
        try:
            self._writer.write(head.encode() + body)
            return await self._read(self._reader)
        except BaseException:
            self.close()
            raise

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        start = head.find(b"content-length:")
        length = int(head[start + 15 : head.index(b"\r\n", start)]) if start >= 0 else 0
        body = await reader.readexactly(length) if length else b""
        return Answer(status, head, body)

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

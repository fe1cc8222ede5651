"""A real HTTP/1.1 server on a free loopback port that can misbehave in every way that counts.

It does one request after another on each connection, and each Fault that is queued befalls one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext
    from types import TracebackType
    from typing import Self

HOST = "127.0.0.1"
BODY_BYTES_MAX = 1_048_576


class Fault(Enum):
    """What befalls a request. "After work" means that it took effect and nobody hears of it."""

    DROP_BEFORE_WORK = auto()
    DROP_AFTER_WORK = auto()
    HANG_BEFORE_WORK = auto()
    HANG_AFTER_WORK = auto()
    ERROR_BEFORE_WORK = auto()
    ERROR_AFTER_WORK = auto()
    TOO_MANY = auto()
    REDIRECT = auto()
    GARBAGE = auto()
    ENDLESS = auto()


_WORKS = {Fault.DROP_AFTER_WORK, Fault.HANG_AFTER_WORK, Fault.ERROR_AFTER_WORK, Fault.GARBAGE}
_WORKS |= {Fault.ENDLESS}


@dataclass(frozen=True)
class Asked:
    """One request. Header names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] | None = None


class TryServer:
    """Subclasses answer in `reply`. Use as an async context manager; `url` says where."""

    def __init__(self) -> None:
        self.tls: SSLContext | None = None
        """To be set before `start`."""
        self.asked: list[Asked] = []
        """Every request that was read, in order."""
        self.faults: deque[Fault] = deque()
        self.slow_seconds: dict[str, float] = {}
        """By method: a request takes effect, and its answer so long."""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens; the same after `stop` and `start`."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self._port}"

    def reply(self, asked: Asked) -> Reply:
        """Do what is asked, and answer."""
        raise NotImplementedError

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, self._port, ssl=self.tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, cut those there are."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a connection is served by a task")
        self._connections.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went, or `stop` cut it: both are what a test wants
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = await _read(reader)
        self.asked.append(asked)
        fault = self.faults.popleft() if self.faults else None
        reply = self.reply(asked) if fault is None or fault in _WORKS else Reply(500)
        match fault:
            case Fault.DROP_BEFORE_WORK | Fault.DROP_AFTER_WORK:
                return False
            case Fault.HANG_BEFORE_WORK | Fault.HANG_AFTER_WORK:
                await asyncio.Event().wait()
            case Fault.ENDLESS:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                    await writer.drain()
            case Fault.ERROR_BEFORE_WORK | Fault.ERROR_AFTER_WORK:
                reply = Reply(503, headers={"Retry-After": "1"})
            case Fault.TOO_MANY:
                reply = Reply(429, headers={"Retry-After": "1"})
            case Fault.REDIRECT:
                reply = Reply(307, headers={"Location": self.url + "/elsewhere"})
            case Fault.GARBAGE:
                reply = Reply(200, b'{"id": "half an ans')
        await asyncio.sleep(self.slow_seconds.get(asked.method, 0))
        writer.write(_encoded(reply))
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = min(int(headers.get("content-length", "0")), BODY_BYTES_MAX)
    return Asked(method, path, headers, await reader.readexactly(length))


def _encoded(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (reply.headers or {}).items()]
    lines += [f"Content-Length: {len(reply.body)}", "Content-Type: application/json", "", ""]
    return "\r\n".join(lines).encode() + reply.body

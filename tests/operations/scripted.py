"""An order service that answers as a test tells it to, over a real socket."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answers = Callable[["Asked"], Awaitable[bytes | None]]

ORDER = "01a1fe87-c53e-7735-a137-e198c8f5b806"


@dataclass
class Asked:
    """One request that came."""

    number: int
    path: str
    key: str
    body: bytes
    authorization: str = ""


@dataclass
class Service:
    """Where it listens, and what it was asked."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)


def answer(status: int, body: str = f'{{"id":"{ORDER}"}}') -> bytes:
    """A whole response."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@asynccontextmanager
async def scripted(answers: Answers) -> AsyncIterator[Service]:
    """Serve until left. `answers` gives the bytes to send; None closes the connection."""
    service = Service()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await _read(reader, len(service.asked))
                service.asked.append(asked)
                said = await answers(asked)
                if said is None:
                    return
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    async with server:
        yield service


async def _read(reader: asyncio.StreamReader, number: int) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
    body = await reader.readexactly(int(lines.get("content-length", "0")))
    key, authorization = lines.get("idempotency-key", ""), lines.get("authorization", "")
    return Asked(number, head.split(" ", 2)[1], key, body, authorization)

"""The gateway over real connections: answers stream, break as they broke, and hold nothing back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.http.edge_memory import Responses

from waybill.edge.gateway.routes import Route
from waybill.edge.gateway.settings import GatewaySettings
from waybill.messaging.runtime.clock import SystemClock
from waybill.platform.gateway import GatewayApplication
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import HttpServer, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PART = b"5\r\nhello\r\n"


@asynccontextmanager
async def before(handle: Handle) -> AsyncIterator[tuple[httpx2.AsyncClient, GatewayApplication]]:
    """A client of a gateway before a service that does with its connections what it likes."""
    service = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    application = GatewayApplication(
        GatewaySettings(upstreams={"order": (f"http://127.0.0.1:{port}",)}),
        clock=SystemClock(),
        random=lambda: 0.0,
        observer=Responses(),
        routes=[Route("/api/orders", "order")],
    )
    await application.open()
    limits = HttpLimits(graceful_seconds=1)
    server = HttpServer(application, bind(0), limits)
    await server.start()
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client, application
    finally:
        await server.stop()
        await application.close()
        service.close()


async def test_an_answer_arrives_as_it_is_made() -> None:
    """Streaming: its first part is here before the service has made the second."""
    seen = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + PART)
        await writer.drain()
        await seen.wait()
        writer.write(PART + b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with before(handle) as (client, _), client.stream("GET", "/api/orders") as answer:
        parts = answer.aiter_raw()
        assert await asyncio.wait_for(anext(parts), 5) == b"hello"
        seen.set()
        assert b"".join([part async for part in parts]) == b"hello"


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_an_answer_that_breaks_off_is_never_made_whole(length: bytes) -> None:
    """Half an answer must not look like one: the client's connection breaks as well."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + length + b"\r\n" + PART)
        await writer.drain()
        writer.close()

    async with before(handle) as (client, _):
        with pytest.raises(httpx2.TransportError):
            await client.get("/api/orders")


async def test_who_goes_away_frees_what_they_held() -> None:
    """A client that leaves an endless answer ends the service's part of it, too."""
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(PART * 1_000)
                await writer.drain()
        except ConnectionError:
            ended.set()

    async with before(handle) as (client, application):
        async with client.stream("GET", "/api/orders") as answer:
            assert await asyncio.wait_for(anext(answer.aiter_raw()), 5)
        await asyncio.wait_for(ended.wait(), 5)
        lease = application.upstreams["order"].lease()
        assert lease is not None
        assert lease.instance.in_flight <= 2

"""The server on real sockets: bounded connections, one write an answer, a stop that drops none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from tests.http.edge_memory import Edge, MemoryOrders, make_edge, order_body

from waybill.commerce.orders.request import Placed, PlaceOrder
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import HttpServer, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = HttpLimits(request_seconds_max=0.2, graceful_seconds=5)
PATIENT = HttpLimits(graceful_seconds=5)


@contextlib.asynccontextmanager
async def _serving(edge: Edge, limits: HttpLimits = PATIENT) -> AsyncIterator[HttpServer]:
    server = HttpServer(edge.application, bind(0), limits)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _exchange(server: HttpServer, *sent: bytes) -> bytes:
    """Send, then read until the server closes or has answered what was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for data in sent:
            writer.write(data)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read(65_536)
    finally:
        writer.close()


def _post(body: bytes, *, length: int | None = None) -> bytes:
    head = (
        "POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: k\r\nContent-Length: {length or len(body)}\r\n\r\n"
    )
    return head.encode() + body


ORDER = json.dumps(order_body()).encode()


def test_a_port_in_use_is_one_clear_line() -> None:
    """Says what and what to do."""
    with contextlib.closing(bind(0)) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError) as refused:
            bind(port)
    assert f"127.0.0.1:{port}" in str(refused.value)
    assert "--port-base" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_port_that_another_start_has_taken_is_refused() -> None:
    """Two that start at once: one has the port, though it does not listen yet."""
    edge = make_edge()
    with contextlib.closing(bind(0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError):
            async with contextlib.AsyncExitStack() as stack:
                second = HttpServer(edge.application, bind(port), PATIENT)
                stack.push_async_callback(second.stop)
                first.listen()
                await second.start()  # where the kernel let both bind


async def test_a_port_is_taken_again_at_once() -> None:
    """Connections of the last owner that the kernel still remembers stop no start."""
    async with _serving(make_edge()) as server:
        port = server.port
        await _exchange(server, b"GET /livez HTTP/1.0\r\nHost: a\r\n\r\n")
    bind(port).close()


async def test_it_serves_and_leaves_signals_alone() -> None:
    """The process has its own signal handlers; C43: loopback unless told otherwise."""
    before = signal.getsignal(signal.SIGTERM)
    async with _serving(make_edge()) as server:
        assert signal.getsignal(signal.SIGTERM) is before
        answer = await _exchange(server, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nserver:" not in answer.lower()


async def test_an_answer_is_one_segment() -> None:
    """Head and body in one write; and without TCP_NODELAY each answer would wait 40 ms."""
    async with _serving(make_edge()) as server:
        answer = await _exchange(server, _post(ORDER))
        assert answer.startswith(b"HTTP/1.1 201 Created\r\n")
        assert answer.endswith(b'Z"}')
        client = socket.create_connection(("127.0.0.1", server.port))
        with contextlib.closing(client):
            accepted = await _accepted(server)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def _accepted(server: HttpServer) -> socket.socket:
    async with asyncio.timeout(10):
        while not server._server.server_state.connections:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0)
    [connection] = server._server.server_state.connections
    accepted: socket.socket = connection.transport.get_extra_info("socket")
    return accepted


async def test_requests_follow_one_another_on_a_connection() -> None:
    """HTTP/1.1: keep-alive, also when the next request comes before the answer."""
    get = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with _serving(make_edge(), QUICK) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get + get + last)
        async with asyncio.timeout(10):
            answers = await reader.read()
        writer.close()
    assert answers.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /livez HT", _post(ORDER)[:-5], _post(ORDER)[:100]],
    ids=["nothing", "part of a head", "part of a body", "more of a head"],
)
async def test_a_slow_sender_holds_a_connection_for_a_bounded_time(sent: bytes) -> None:
    """API4: read timeout (slowloris)."""
    async with _serving(make_edge(), QUICK) as server:
        answer = await _exchange(server, sent)
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("pieces", [1, 40])
async def test_a_head_is_bounded(pieces: int) -> None:
    """API4: 16 KB of headers, in one piece or in many."""
    headers = [b"X-%d: %s\r\n" % (n, b"x" * 600) for n in range(pieces)]
    if pieces == 1:
        headers = [b"X: %s\r\n" % (b"x" * 20_000)]
    async with _serving(make_edge()) as server:
        answer = await _exchange(server, b"GET /livez HTTP/1.1\r\nHost: a\r\n", *headers)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_body_that_is_too_large_is_refused_unread() -> None:
    """API4: 413 by the announced length; the connection cannot be used again."""
    async with _serving(make_edge()) as server:
        answer = await _exchange(server, _post(b"{", length=70_000))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert b'"code":"body_too_large"' in answer


async def test_what_is_no_http_is_refused() -> None:
    """A stranger on the port gets a 400, the server goes on."""
    async with _serving(make_edge()) as server:
        answer = await _exchange(server, b"\x16\x03\x01 hello\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"application/problem+json" in answer
        alive = await _exchange(server, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert alive.startswith(b"HTTP/1.1 200")


async def test_connections_are_bounded() -> None:
    """API4: the connection beyond the limit is told so; when one is free again, all is well."""
    async with _serving(make_edge(), HttpLimits(connections_max=1)) as server:
        get = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get)
        await reader.readuntil(b"}}}")
        assert (await _exchange(server)).startswith(b"HTTP/1.1 503")
        writer.close()
        async with asyncio.timeout(10):
            while not (await _exchange(server, get)).startswith(b"HTTP/1.1 200"):
                pass


async def test_an_upgrade_is_answered_without_one(caplog: pytest.LogCaptureFixture) -> None:
    """RFC 9110, 7.8: a server may ignore Upgrade; strangers cannot fill the log with it."""
    ask = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with _serving(make_edge()) as server:
        with caplog.at_level("WARNING"):
            assert (await _exchange(server, ask)).startswith(b"HTTP/1.1 200")
    assert not caplog.records


async def test_head_has_no_body_on_the_wire() -> None:
    """RFC 9110: the length of GET's body, and no byte of it."""
    async with _serving(make_edge()) as server:
        answer = await _exchange(server, b"HEAD /api/products HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: " in answer


class SlowOrders(MemoryOrders):
    """An intake whose answer waits for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def place(self, request: PlaceOrder) -> Placed:
        self.reached.set()
        await self.may_answer.wait()
        placed = await super().place(request)
        assert isinstance(placed, Placed)
        return placed


async def test_a_stop_finishes_what_was_accepted() -> None:
    """P11, B65: stop accepting, answer what is in flight, close; a second stop is nothing."""
    orders = SlowOrders()
    edge = make_edge(orders=orders)
    async with _serving(edge) as server, asyncio.timeout(20):
        request = asyncio.create_task(_exchange(server, _post(ORDER)))
        await orders.reached.wait()
        stopping = asyncio.create_task(server.stop())
        port = server.port
        with pytest.raises(ConnectionError):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
        orders.may_answer.set()
        answer = await request
        await stopping
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"connection: close" in answer.lower()


async def test_a_stop_does_not_wait_for_ever() -> None:
    """B65: uvicorn's default waits for ever; ours ends, and says that the outcome is unknown."""
    orders = SlowOrders()
    edge = make_edge(orders=orders)
    server = HttpServer(edge.application, bind(0), HttpLimits(graceful_seconds=1))
    await server.start()
    request = asyncio.create_task(_exchange(server, _post(ORDER)))
    await orders.reached.wait()
    async with asyncio.timeout(10):
        await server.stop()
    answer = await request
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"outcome_unknown"' in answer
    assert not orders.orders

"""HTTP/1.1 as it is on the wire: framing, order, bounds, and what becomes of broken answers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import HttpServer, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from waybill.platform.http.connection import HttpConnection

    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LIMITS = HttpLimits(graceful_seconds=2)
CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Client(NamedTuple):
    """A client's connection, and the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: HttpServer

    async def stands(self, paused: Callable[[HttpConnection], bool]) -> None:
        """Returns when the server's side of the connection is paused."""
        [connection] = self.server._server.server_state.connections
        while not paused(cast("HttpConnection", connection)):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _serving(application: Application, limits: HttpLimits = LIMITS) -> AsyncIterator[Client]:
    """One connection to a server of this application."""
    server = HttpServer(application, bind(0), limits)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(20):
            yield Client(reader, writer, server)
    finally:
        writer.close()
        await server.stop()


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(send: Send, body: bytes, **start: Any) -> None:  # noqa: ANN401 - ASGI's message
    headers = start.pop("headers", [(b"content-length", b"%d" % len(body))])
    await send({"type": "http.response.start", "status": 200, "headers": headers, **start})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Method, path and query, and the body, whatever it is."""
    body = await _body(receive)
    line = f"{scope['method']} {scope['path']}?{scope['query_string'].decode()} ".encode()
    await _answer(send, line + body + b"$")


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"GET /a%20b?c=%20d HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a b?c=%20d $"),
        (b"GET http://h/a?b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a?b $"),
        (b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a? $"),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", b"POST /a? body$"),
        (CHUNKED + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", b"POST /a? onetwo$"),
    ],
)
async def test_a_request_is_read_however_it_is_framed_and_cut(sent: bytes, answered: bytes) -> None:
    """RFC 9112: in one piece, and a byte at a time, on one connection."""
    async with _serving(echo) as (reader, writer, _):
        writer.write(sent)
        assert (await reader.readuntil(b"$")).endswith(b"\r\n\r\n" + answered)
        for at in range(len(sent)):
            writer.write(sent[at : at + 1])
            await asyncio.sleep(0)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
        assert await reader.readuntil(b"$") == answered


async def test_requests_sent_ahead_are_answered_in_their_order() -> None:
    """RFC 9112, 9.3.2: whichever answer would be ready first."""
    running: list[str] = []

    async def slow_first(scope: Scope, receive: Receive, send: Send) -> None:
        running.append(scope["path"])
        assert len(running) == 1
        await _body(receive)
        for _ in range(10 - int(scope["path"][1:])):
            await asyncio.sleep(0.001)
        running.remove(scope["path"])
        await _answer(send, scope["path"].encode() + b"$")

    async with _serving(slow_first) as (reader, writer, _):
        writer.write(b"".join(GET % number for number in range(1, 9)))
        for number in range(1, 9):
            assert (await reader.readuntil(b"$")).endswith(b"\r\n\r\n/%d$" % number)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET % 2,
    ],
)
async def test_a_connection_that_shall_close_closes(head: bytes) -> None:
    """RFC 9112, 9.6: after the answer, which says so; what follows is not served."""
    async with _serving(echo) as (reader, writer, _):
        writer.write(head)
        answer = await reader.read()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"GET /? $")


async def test_an_idle_connection_is_closed_and_a_stray_line_is_no_request() -> None:
    """API4: a client that asks nothing more holds a connection for a bounded time."""
    limits = HttpLimits(keep_alive_seconds=1, request_seconds_max=0.2, graceful_seconds=2)
    async with _serving(echo, limits) as (reader, writer, _):
        writer.write(GET % 1)
        await reader.readuntil(b"$")
        assert await reader.read() == b""
    async with _serving(echo, limits) as (reader, writer, _):
        writer.write(GET % 1)
        await reader.readuntil(b"$")
        writer.write(b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    """RFC 9110, 10.1.1: when the body is asked for, and not otherwise."""

    async def picky(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/no":
            await _answer(send, b"no$", headers=[(b"content-length", b"3")], status=413)
        else:
            await echo(scope, receive, send)

    ask = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with _serving(picky) as (reader, writer, _):
        writer.write(ask % b"yes")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.readuntil(b"$")).endswith(b"POST /yes? hi$")
        writer.write(ask % b"no")
        assert (await reader.readuntil(b"$")).startswith(b"HTTP/1.1 413 ")


async def test_an_answer_without_a_length_comes_in_chunks() -> None:
    """RFC 9112, 7.1; HEAD and 204 have none and no body."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await _body(receive)
        status = 204 if scope["path"] == "/204" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        for piece in (b"one", b"", b"three") if scope["path"] == "/1" else ():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with _serving(stream) as (reader, writer, _):
        writer.write(GET % 1)
        head, _, body = (await reader.readuntil(b"0\r\n\r\n")).partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"
        writer.write(b"HEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n" + GET % 204 + GET % 3)
        answers = await reader.readuntil(b"0\r\n\r\n")
    assert answers.count(b"HTTP/1.1 ") == 3
    assert answers.count(b"chunked") == 1


async def _raises(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ValueError("secret")


async def _ends(_scope: Scope, _receive: Receive, _send: Send) -> None:
    pass


async def _splits(_scope: Scope, _receive: Receive, send: Send) -> None:
    await _answer(send, b"", headers=[(b"link", b"a\r\nset-cookie: b"), (b"content-length", b"0")])


async def _too_long(_scope: Scope, _receive: Receive, send: Send) -> None:
    await _answer(send, b"four", headers=[(b"content-length", b"3")])


async def _too_short(_scope: Scope, _receive: Receive, send: Send) -> None:
    await _answer(send, b"two", headers=[(b"content-length", b"4")])


@pytest.mark.parametrize("application", [_raises, _ends, _splits, _too_long, _too_short])
async def test_a_broken_answer_is_a_500_that_says_nothing_and_closes(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """No answer that a client could read as another one's: nothing of it goes out."""
    async with _serving(application) as (reader, writer, _):
        writer.write(GET % 1)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"connection: close" in answer
    assert b"secret" not in answer
    assert b"cookie" not in answer
    assert caplog.records


async def test_half_an_answer_breaks_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """What began as 200 cannot become a 500: the client sees that the end is missing."""

    async def half(_scope: Scope, _receive: Receive, send: Send) -> None:
        start = {"status": 200, "headers": [(b"content-length", b"9")]}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError

    async with _serving(half) as (reader, writer, _):
        writer.write(GET % 1)
        answer = await reader.read()
    assert answer.endswith(b"\r\n\r\nhalf")
    assert "Exception in ASGI application" in caplog.text


async def test_a_client_that_leaves_is_noticed() -> None:
    """I3: inside its body and while it is answered; nothing is logged as an error of ours."""
    noticed: list[str] = []
    done = asyncio.Event()

    async def wait(_scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            noticed.append(str(message["body"]))
        await _answer(send, b"to nobody")
        done.set()

    for sent in (GET % 1, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"):
        done.clear()
        async with _serving(wait) as (_, writer, _):
            writer.write(sent)
            await writer.drain()
            writer.close()
            await done.wait()
    assert "b'half'" in noticed


async def test_a_client_that_does_not_read_holds_the_answer_back() -> None:
    """API4: an answer is not collected in memory while its client sleeps."""
    sent = 0
    pieces, piece = 400, b"x" * 65_536

    async def flood(_scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await _body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b"$"})

    async with _serving(flood) as client:
        client.writer.write(GET % 1)
        await client.reader.readuntil(b"\r\n\r\n")
        await client.stands(lambda connection: connection.write_paused)
        assert sent < pieces
        length, data = 0, b""
        while not data.endswith(b"0\r\n\r\n"):
            data = await client.reader.read(1 << 20)
            length += len(data)
    assert length > pieces * len(piece)


async def test_a_body_is_not_collected_while_nobody_reads_it() -> None:
    """API4: beyond 64 KiB the client waits, until the application asks for more."""
    may_read = asyncio.Event()

    async def late(_scope: Scope, receive: Receive, send: Send) -> None:
        await may_read.wait()
        await _answer(send, b"%d$" % len(await _body(receive)))

    size = 20_000_000
    async with _serving(late) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        client.writer.write(head % size + b"x" * size)
        await client.stands(lambda connection: connection._read_paused)
        may_read.set()
        assert (await client.reader.readuntil(b"$")).endswith(b"\r\n\r\n%d$" % size)

"""The detector of calls that block the event loop notices those that people write by mistake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from tests.blocking import BlockingCallError, no_blocking_calls

if TYPE_CHECKING:
    from collections.abc import Callable


def _connects() -> None:
    with contextlib.closing(socket.socket()) as one:
        one.connect(("127.0.0.1", 9))


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: time.sleep(0),
        lambda: socket.getaddrinfo("localhost", 80),
        lambda: urllib.request.urlopen("http://127.0.0.1:9/"),
        _connects,
    ],
    ids=["sleep", "look-up", "urllib", "socket"],
)
async def test_a_blocking_call_in_the_loop_is_found(mistake: Callable[[], object]) -> None:
    """A sleep, a look-up of a name, a client that waits for its socket."""
    with no_blocking_calls(), pytest.raises(BlockingCallError):
        mistake()


async def test_what_waits_without_blocking_passes() -> None:
    """What asyncio's own sleeps and sockets do, and blocking calls in another thread."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    with no_blocking_calls():
        await asyncio.sleep(0)
        await asyncio.to_thread(time.sleep, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
    server.close()

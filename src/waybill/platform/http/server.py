"""An HTTP server as a part of a larger process: it neither binds, nor catches signals, nor exits.

uvicorn on sockets that were bound before anything else started, so that a port in use is found
early, and two applications can never serve one port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.http.connection import bounded_protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from waybill.platform.http.limits import HttpLimits

LOOPBACK = "127.0.0.1"
_LAST_WORDS_SECONDS = 1.0
"""Requests that were cancelled answer 503 in it."""


def bind(port: int, *, host: str = LOOPBACK) -> socket.socket:
    """A bound socket, not yet listening. Raises ConfigurationError that says what to do.

    The address is to be reused after its last owner, never beside another who has bound it and
    does not listen yet: hence the option goes off again until `HttpServer.start`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0 asyncio does not set TCP_NODELAY on what it accepts, and every
    # answer (head and body are two writes) waits 40 ms for the peer's delayed ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        bound.close()
        raise _in_use(host, port, error) from error
    return bound


def _in_use(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot listen on {host}:{port} ({error.strerror}): end what listens there, or "
        "choose other ports with --port-base"
    )


class HttpServer:
    """Serves one application on one socket, from `start` to `stop`."""

    def __init__(self, application: ASGIApp, bound: socket.socket, limits: HttpLimits) -> None:
        self._socket = bound
        self._backlog = limits.backlog
        self._server = _Server(
            uvicorn.Config(
                application,
                http=bounded_protocol(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=limits.keep_alive_seconds,
                timeout_graceful_shutdown=limits.graceful_seconds,
                backlog=limits.backlog,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it serves."""
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self) -> None:
        """Returns when connections are accepted. Raises ConfigurationError: somebody else's are."""
        self._listen()
        self._serving = asyncio.create_task(self._server.serve([self._socket]), name="http")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({ready, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            await self._serving

    def _listen(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.listen(self._backlog)
        except OSError as error:  # a kernel that let two of us bind
            host, port = self._socket.getsockname()[:2]
            raise _in_use(host, port, error) from error

    async def stop(self) -> None:
        """Stop accepting, finish requests within the graceful time, close. May be repeated."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait({self._serving})
        if late := set(self._server.server_state.tasks):
            await asyncio.wait(late, timeout=_LAST_WORDS_SECONDS)
        self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of them is ours."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the waiter once connections are accepted."""
        await super().startup(sockets)
        self.ready.set()

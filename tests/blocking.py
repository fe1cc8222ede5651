"""Finds calls that block the event loop: while it is on, they raise in the thread that runs it.

It looks at what blocks, not at how long it took, so a busy machine cannot make it err.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OF_SOCKETS = ("accept", "connect", "recv", "recv_into", "send", "sendall", "sendto", "recvfrom")
_OF_MODULES = [
    (time, "sleep"),
    (socket, "getaddrinfo"),
    (socket, "gethostbyname"),
    (socket, "gethostbyaddr"),
    (socket, "create_connection"),
]


class BlockingCallError(AssertionError):
    """Something would have stopped every other task of the process."""


@contextlib.contextmanager
def no_blocking_calls() -> Iterator[None]:
    """Raise BlockingCallError for a sleep, a name's look-up or a blocking socket in this thread."""
    mine = threading.get_ident()

    def guarded(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def checked(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes
            on_socket = bool(arguments) and isinstance(arguments[0], socket.socket)
            if threading.get_ident() == mine and not (
                on_socket and arguments[0].gettimeout() == 0.0
            ):
                raise BlockingCallError(f"{name} blocks the event loop")
            return call(*arguments, **named)

        return checked

    with contextlib.ExitStack() as patches:
        for name in _OF_SOCKETS:
            call = getattr(socket.socket, name)
            patches.enter_context(
                patch.object(socket.socket, name, guarded(call, f"socket.{name}"), create=True)
            )
        for module, name in _OF_MODULES:
            call = getattr(module, name)
            patches.enter_context(patch.object(module, name, guarded(call, name)))
        yield

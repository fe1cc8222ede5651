"""One connection: bounds on a head's size and a request's time, and one write an answer.

A sender that trickles holds a connection for a bounded time and nothing else. Head and body of
an answer leave in one segment, which saves both sides a system call and a wake-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from waybill.platform.http.limits import HttpLimits

_HEAD = b"HTTP/1.1 "
_INTERIM = b"HTTP/1.1 100"


class CoalescingTransport:
    """A transport that keeps an answer's head back until its body follows, or the loop turns."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the rest is the transport's own
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or keep back for the moment."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Write what is kept back, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class BoundedHttpProtocol(HttpToolsProtocol):
    """httptools' parser; the connection closes when a head is too big or a request too slow."""

    limits: HttpLimits
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _complete = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A new connection owes us a request from now on."""
        corked = CoalescingTransport(transport, self.loop)
        super().connection_made(corked)  # type: ignore[arg-type]  # it answers like one
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an incomplete head; a request that is not all here gets a timer."""
        self._complete = False
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.limits.head_bytes_max:
            self._refuse(b"431 Request Header Fields Too Large")
        elif not self._complete and self._timer is None:
            self._arm()

    def on_headers_complete(self) -> None:
        """The head is here: its bytes no longer count."""
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Nothing is owed until the next byte comes."""
        super().on_message_complete()
        self._in_head = True
        self._complete = True
        self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is owed any more."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.limits.request_seconds_max, self._overdue)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        self._timer = None
        # uvicorn's annotation hides that there is no cycle before the first request.
        cycle: RequestResponseCycle | None = self.cycle
        if self._in_head and cycle is not None and not cycle.response_complete:
            self._arm()  # a pipelined head waits for our own answer, not for the sender
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head or not self.cycle.response_started:
            self.transport.write(
                _HEAD + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()


def bounded_protocol(limits: HttpLimits) -> type[HttpToolsProtocol]:
    """The protocol class of one server (uvicorn makes the instances)."""
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), {"limits": limits})

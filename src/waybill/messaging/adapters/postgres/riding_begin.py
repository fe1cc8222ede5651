"""BEGIN rides on the transaction's first statement, so that a transaction takes a round trip less.

asyncpg sends a message only after the answer to the one before. BEGIN has an answer that nobody
needs to wait for: it is written in front of the next message, in the same protocol's extended form
and without a Sync, and its part of the answer is taken out before asyncpg sees it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import asyncpg

logger = logging.getLogger(__name__)

# PostgreSQL's protocol 3.0: type, length (itself included), content. Parse the unnamed statement,
# Bind the unnamed portal without arguments, Execute all of it.
_BEGIN = (
    b"P\x00\x00\x00\x0d\x00BEGIN\x00\x00\x00"
    b"B\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00"
    b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"
)
_COMPLETED = b"C\x00\x00\x00\x0aBEGIN\x00"
_ANSWER = b"1\x00\x00\x00\x04" + b"2\x00\x00\x00\x04" + _COMPLETED
_HEAD_BYTES = 5
_PARSED_OR_BOUND = b"12"
_AT_ANY_TIME = b"ANS"
"""Notifications, notices and changes of a setting come whenever the server likes."""


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types here
    """A connection that can begin a transaction with its next statement."""

    __slots__ = ("_answers", "_wire")

    def __init__(self, protocol: Any, transport: Any, *arguments: Any) -> None:  # noqa: ANN401 - the driver's own
        super().__init__(protocol, transport, *arguments)
        self._wire = cast("asyncio.WriteTransport", transport)
        self._answers = _Answers(protocol, transport)
        transport.set_protocol(self._answers)

    def begin_with_next(self) -> None:
        """Write BEGIN; send a statement right behind it, or nothing else ever."""
        self._answers.expect()
        self._wire.write(_BEGIN)


class _Answers(asyncio.Protocol):
    """Between the socket and asyncpg: takes out what the server says to BEGIN."""

    def __init__(self, driver: asyncio.Protocol, transport: asyncio.WriteTransport) -> None:
        self._driver = driver
        self._transport = transport
        self._expected = False
        self._rest = b""

    def expect(self) -> None:
        """The next answer begins with that to BEGIN."""
        self._expected = True

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._expected:
            data = self._without_answer(self._rest + data)
        if data:
            self._driver.data_received(data)

    def _without_answer(self, data: bytes) -> bytes:
        if data.startswith(_ANSWER):
            self._expected, self._rest = False, b""
            return data[len(_ANSWER) :]
        passed = b""
        while len(data) >= _HEAD_BYTES:
            size = 1 + int.from_bytes(data[1:_HEAD_BYTES], "big")
            if len(data) < size:
                break
            message, data = data[:size], data[size:]
            if message == _COMPLETED:
                self._expected, self._rest = False, b""
                return passed + data
            if message[:1] in _AT_ANY_TIME:
                passed += message
            elif message[:1] not in _PARSED_OR_BOUND:
                # A server that is going down. The statement behind BEGIN must not run outside of
                # a transaction, nor its sender wait for an answer: the connection ends here.
                logger.debug("BEGIN was answered with %r", message[:200])
                self._expected, self._rest = False, b""
                self._transport.abort()
                return passed + message + data
        self._rest = data
        return passed

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._driver.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        return self._driver.eof_received()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._driver.resume_writing()

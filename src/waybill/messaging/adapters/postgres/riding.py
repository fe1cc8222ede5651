"""BEGIN and COMMIT ride on a transaction's first and last statement: two round trips less.

asyncpg sends a message only after the answer to the one before. BEGIN has an answer that nobody
needs to wait for: it is written in front of the next message, in the same protocol's extended form
and without a Sync. Behind it a statement may go of which only the failure matters. COMMIT is
written right behind the last statement: if that one failed, the server takes it for ROLLBACK. What
asyncpg does not expect of the answers is taken out before it sees them, and a statement with
COMMIT behind it is answered when both are.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from waybill.messaging.adapters.postgres.ahead import bind_and_execute

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from waybill.messaging.core.ports import Row

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
_BOUND_OR_ROW = b"2D"
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
_HEAD_BYTES = 5
_PARSED_OR_BOUND = b"12"
_AT_ANY_TIME = b"ANS"
"""Notifications, notices and changes of a setting come whenever the server likes."""
_READY, _COMPLETE = b"Z", b"C"


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types here
    """A connection whose transactions begin with a statement, and may end with one."""

    __slots__ = ("_answers", "_wire")

    def __init__(self, protocol: Any, transport: Any, *arguments: Any) -> None:  # noqa: ANN401 - the driver's own
        super().__init__(protocol, transport, *arguments)
        self._wire = cast("asyncio.WriteTransport", transport)
        self._answers = _Answers(protocol, transport)
        transport.set_protocol(self._answers)

    def begin_with_next(self, ahead: bytes = b"", then: Callable[[], None] | None = None) -> None:
        """Write BEGIN; send a statement with arguments right behind it, or nothing else ever.

        `ahead` is what `bound` gave: it runs in between. `then` is called when it has succeeded.
        """
        self._answers.expect_begun(then if ahead else None)
        self._wire.write(_BEGIN + ahead)

    async def bound(self, statement: str, arguments: Sequence[object]) -> bytes:
        """For `begin_with_next`: this statement, prepared by now, with these arguments."""
        prepared = await self._get_statement(statement, None)
        return bind_and_execute(prepared.name, arguments)

    def is_ahead_open(self) -> bool:
        """Whether what went ahead is not answered yet."""
        return self._answers.is_ahead_open

    async def fetch_and_commit(
        self, sent: Callable[[], None], statement: str, *arguments: object
    ) -> Sequence[Row]:
        """Run a statement and COMMIT; its rows, once both are done.

        Any error that the server answers with means that nothing was committed. Calls `sent` when
        COMMIT is on its way: an error of any other kind leaves the outcome unknown from there on.
        """

        def commit() -> None:
            sent()
            self._answers.expect_committed()
            self._wire.write(_COMMIT)

        prepared = await self._get_statement(statement, None)
        executing = self._protocol.bind_execute(
            state=prepared,
            args=arguments,
            portal_name="",
            limit=0,
            return_extra=False,
            timeout=None,
        )
        rows: Sequence[Row] = await _Behind(executing, self._queries, commit)
        return rows

    def _queries(self) -> int:
        """How many queries were written so far."""
        return int(self._protocol.queries_count)


class _Behind:
    """Awaits what the driver executes; as soon as that is written, and never before, acts."""

    def __init__(
        self,
        executing: Any,  # noqa: ANN401 - the driver's own
        written: Callable[[], int],
        act: Callable[[], None],
    ) -> None:
        self._executing = executing
        self._written = written
        self._act = act

    def __await__(self) -> Generator[Any, Any, Any]:
        before, acted = self._written(), False
        steps = self._executing.__await__()
        try:
            waited = steps.send(None)
            while True:
                if not acted and self._written() != before:
                    acted = True
                    self._act()
                try:
                    value = yield waited
                except BaseException as error:  # noqa: BLE001 - the driver's to handle
                    waited = steps.throw(error)
                else:
                    waited = steps.send(value)
        except StopIteration as done:
            return done.value


class _Answers(asyncio.Protocol):
    """Between the socket and asyncpg: takes out what the server says to BEGIN and COMMIT."""

    def __init__(self, driver: asyncio.Protocol, transport: asyncio.WriteTransport) -> None:
        self._driver = driver
        self._transport = transport
        self._beginning = False
        self._begun = False
        self._then: Callable[[], None] | None = None
        self._ending = False
        self._rest = b""
        self._held = b""
        """Of the last statement's answer; COMMIT is not answered yet."""
        self._statement_done = False

    def expect_begun(self, then: Callable[[], None] | None = None) -> None:
        """The next answer begins with that to BEGIN, and to one statement more if `then` is."""
        self._beginning, self._begun, self._then = True, False, then

    @property
    def is_ahead_open(self) -> bool:
        """Whether the answer to that statement is still to come."""
        return self._beginning and self._then is not None

    def expect_committed(self) -> None:
        """Behind the next answer comes that to COMMIT."""
        self._ending, self._statement_done = True, False

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._beginning:
            data = self._without_begun(self._rest + data)
        if self._ending and not self._beginning:
            data = self._until_committed(self._rest + data)
        if data:
            self._driver.data_received(data)

    def _without_begun(self, data: bytes) -> bytes:
        if data.startswith(_ANSWER):
            self._begun, data = True, data[len(_ANSWER) :]
        passed = b""
        while not self._is_done() and (size := _size(data)) and len(data) >= size:
            message, data = data[:size], data[size:]
            kind = message[:1]
            if kind in _AT_ANY_TIME:
                passed += message
            elif self._begun:
                if self._is_refused(kind):
                    data = message + data
            elif message == _COMPLETED:
                self._begun = True
            elif kind not in _PARSED_OR_BOUND:
                # A server that is going down. The statement behind BEGIN must not run outside of
                # a transaction, nor its sender wait for an answer: the connection ends here.
                logger.debug("BEGIN was answered with %r", message[:200])
                self._begun, self._then = True, None
                self._transport.abort()
                data = message + data
        if self._is_done():
            self._beginning, self._rest = False, b""
            return passed + data
        self._rest = data
        return passed

    def _is_done(self) -> bool:
        return self._begun and self._then is None

    def _is_refused(self, kind: bytes) -> bool:
        """Of a message about the statement that went ahead: an error, which is the next one's."""
        if kind in _BOUND_OR_ROW:
            return False
        then, self._then = self._then, None
        if kind == _COMPLETE and then is not None:
            then()
            return False
        return True

    def _until_committed(self, data: bytes) -> bytes:
        """The statement's answer, with the state that COMMIT left; nothing before it is there."""
        start = 0
        while (size := _size(data, start)) and len(data) >= start + size:
            kind, message = data[start : start + 1], data[start : start + size]
            start += size
            if kind == _READY and self._statement_done:
                self._ending, self._rest = False, b""
                held, self._held = self._held, b""
                return held + message + data[start:]
            if kind == _READY:
                self._statement_done = True
            elif not (kind == _COMPLETE and self._statement_done):
                self._held += message
        self._rest = data[start:]
        return b""

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol. What was held may say why."""
        if self._held:
            self._driver.data_received(self._held)
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


def _size(data: bytes, start: int = 0) -> int:
    """Bytes of the message that begins there; 0 if its head is not there yet."""
    if len(data) < start + _HEAD_BYTES:
        return 0
    return 1 + int.from_bytes(data[start + 1 : start + _HEAD_BYTES], "big")

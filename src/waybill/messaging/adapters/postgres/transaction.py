"""One open transaction on PostgreSQL. It commits as a whole or not at all.

An error of any statement dooms it: later statements raise that error again, and leaving the block
rolls back even if the error was swallowed (pitfalls B56, B57).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.messaging import ending
from waybill.messaging.adapters.postgres import statements
from waybill.messaging.adapters.postgres.errors import DRIVER_ERRORS, discard
from waybill.messaging.core import crash_points
from waybill.messaging.core.commit_acts import CommitActs, cannot, refuse_control
from waybill.messaging.core.errors import MessagingError, OutcomeUnknownError, TransientError
from waybill.messaging.core.sqlstate import outcome_is_unknown, translate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.messaging.adapters.postgres.connection import Connection
    from waybill.messaging.core.ports import Row, Transaction

    _Later = tuple[str, tuple[object, ...], Callable[[Sequence[Row]], None]]
    _Ahead = tuple[str, tuple[object, ...], Callable[[], None]]


class PostgresTransaction:
    """See core.ports.Transaction. Made by PostgresDatabase.transaction only."""

    __slots__ = (
        "_acts",
        "_ahead",
        "_begin",
        "_begun",
        "_commit_sent",
        "_connection",
        "_ended",
        "_failure",
        "_is_ahead_open",
        "_is_open",
        "_later",
        "_over",
        "may_end",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Taken now: the pool's proxy knows them no more once its connection is lost.
        self._is_open = connection.is_in_transaction
        self._begin = connection.begin_with_next
        self._is_ahead_open = connection.is_ahead_open
        self._acts = CommitActs()
        self._failure: Exception | None = None
        self._begun = False
        """BEGIN goes out with the first statement; READ COMMITTED is the session's default."""
        self._ended = False
        self._ahead: _Ahead | None = None
        self._later: _Later | None = None
        self._commit_sent = False
        self._over = False
        """COMMIT went with a statement, and the server said what became of it."""
        self.may_end = False
        """True once its block is left: until then a handler has it (protocol O7)."""

    async def execute(self, statement: str, *arguments: object) -> int:
        """See Transaction.execute."""
        if not arguments:
            await self._send_ahead()  # asyncpg sends it in the simple form, which nothing rides on
        await self._prepare(statement)
        try:
            status = await self._connection.execute(statement, *arguments)
        except DRIVER_ERRORS as error:
            raise self._doom(error) from error
        self._check_open()
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Transaction.fetch."""
        await self._prepare(statement)
        try:
            rows = await self._connection.fetch(statement, *arguments)
        except DRIVER_ERRORS as error:
            raise self._doom(error) from error
        self._check_open()
        return rows

    async def fetch_later(
        self,
        statement: str,
        *arguments: object,
        then: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> None:
        """See Transaction.fetch_later."""
        self._check()
        refuse_control(statement)
        await self._catch_up()
        self._later = statement, arguments, then
        if crash_points.hook is not None:
            await self._catch_up()  # a crash point behind it needs it done

    async def execute_ahead(
        self, statement: str, *arguments: object, then: Callable[[], None] = lambda: None
    ) -> None:
        """See Transaction.execute_ahead."""
        self._check()
        refuse_control(statement)
        if self._begun:
            message = "only the first statement of a transaction can go ahead"
            raise RuntimeError(message)
        self._ahead = statement, arguments, then
        if crash_points.hook is not None:
            await self._send_ahead()  # a crash point behind it needs it done

    async def settle(self) -> None:
        """See Transaction.settle."""
        await self._send_ahead()
        await self._catch_up()

    async def _send_ahead(self) -> None:
        """Run what should go ahead of the next statement by itself."""
        if self._ahead is not None:
            (statement, arguments, then), self._ahead = self._ahead, None
            await self.fetch(statement, *arguments)
            then()

    async def _catch_up(self) -> None:
        """Run what was put off."""
        if self._later is not None:
            (statement, arguments, then), self._later = self._later, None
            then(await self.fetch(statement, *arguments))

    async def fetch_last(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Transaction.fetch_last."""
        if not self._acts.at_last or crash_points.hook is not None:
            # A crash point between the two needs them apart.
            return await self.fetch(statement, *arguments)
        return await self._fetch_and_commit(statement, arguments)

    async def _fetch_and_commit(self, statement: str, arguments: Sequence[object]) -> Sequence[Row]:
        await self._prepare(statement)
        try:
            rows = await self._connection.fetch_and_commit(
                self._commit_is_sent, statement, *arguments
            )
        except DRIVER_ERRORS as error:
            if self._commit_sent:
                self._check_outcome(error)
                self._over = True
            raise self._doom(error) from error
        self._ended = self._over = True
        return rows

    def _commit_is_sent(self) -> None:
        self._commit_sent = True

    async def _prepare(self, statement: str) -> None:
        self._check()
        refuse_control(statement)
        if self._later is not None:
            await self._catch_up()
        statements.sent += 1
        if not self._begun:
            await self._begin_it()

    async def _begin_it(self) -> None:
        if self._ahead is None:
            self._begun = True
            self._begin()
            return
        (statement, arguments, then), self._ahead = self._ahead, None
        try:
            ahead = await self._connection.bound(statement, arguments)
        except DRIVER_ERRORS as error:
            raise self._doom(error) from error
        self._begun = True
        self._begin(ahead, then)

    def buffer(self, flush: Callable[[Transaction, Sequence[Any]], Awaitable[None]]) -> list[Any]:
        """See Transaction.buffer."""
        return self._acts.buffer(flush)

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction.on_commit."""
        self._acts.on_commit(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        """See Transaction.on_unknown."""
        self._acts.on_unknown(call)

    async def commit(self) -> None:
        """Flush, COMMIT, then the calls: see `ending.commit`."""
        if not self.may_end:
            raise RuntimeError(cannot("commit"))
        self._check()
        await ending.commit(self._acts, self._flush_and_commit())

    async def rollback(self) -> None:
        """Send ROLLBACK if the connection still lives."""
        if not self.may_end:
            raise RuntimeError(cannot("rollback"))
        self._ended = True
        if not self._begun or self._over:
            return
        if self._is_ahead_open():
            # The statement behind it was never sent, and without one it is not answered.
            self.discard()
            return
        statements.sent += 1
        try:
            await self._connection.execute("ROLLBACK")
        except DRIVER_ERRORS:
            self.discard()

    def discard(self) -> None:
        """Drop the connection; the server rolls back."""
        self._ended = True
        discard(self._connection)

    async def _flush_and_commit(self) -> None:
        await self._acts.flush(self)
        if self._over:
            return
        self._check()
        if self._later is not None:
            (statement, arguments, then), self._later = self._later, None
            then(await self._fetch_and_commit(statement, arguments))
            return
        if self._ahead is not None:
            (statement, arguments, claimed), self._ahead = self._ahead, None
            await self._fetch_and_commit(statement, arguments)
            claimed()
            return
        self._ended = True
        if not self._begun:
            return
        statements.sent += 1
        try:
            status = await self._connection.execute("COMMIT")
            if crash_points.hook is not None:
                await crash_points.hook("transaction.after_commit", "")
        except DRIVER_ERRORS as error:
            self._check_outcome(error)
            raise self._doom(error) from error
        if status != "COMMIT":
            message = f"COMMIT was answered with {status}: an error inside the unit was swallowed"
            raise TransientError(message)

    def _check_outcome(self, error: BaseException) -> None:
        """Raise OutcomeUnknownError unless the server said what became of the COMMIT."""
        if outcome_is_unknown(error):
            self.discard()
            message = f"the connection broke during COMMIT: {error}"
            raise OutcomeUnknownError(message) from error

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._ended:
            message = "this transaction is over"
            raise RuntimeError(message)

    def _check_open(self) -> None:
        """A COMMIT that stood among other statements cannot be taken back: stop here, loudly."""
        if not self._is_open():
            self.discard()
            self._failure = RuntimeError("a statement ended the transaction of this unit of work")
            raise self._failure

    def _doom(self, error: BaseException) -> MessagingError:
        meaning = translate(error)
        self._failure = meaning
        return meaning

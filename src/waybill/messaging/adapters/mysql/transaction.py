"""One open transaction on MariaDB or MySQL. It commits as a whole or not at all.

An error of any statement dooms it: later statements raise that error again, and leaving the block
rolls back even if the error was swallowed. The servers themselves would go on: after a lock
time-out with half of the unit, after a deadlock in a new transaction (pitfalls B56, B57).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from waybill.messaging import ending
from waybill.messaging.adapters.mysql.errors import DRIVER_ERRORS, outcome_is_unknown, translate
from waybill.messaging.core import crash_points
from waybill.messaging.core.at_once import RunsAtOnce
from waybill.messaging.core.commit_acts import CommitActs, cannot, refuse_control
from waybill.messaging.core.errors import MessagingError, OutcomeUnknownError, PermanentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.messaging.adapters.mysql.session import MysqlSession
    from waybill.messaging.core.ports import Row, Transaction

IMPLICIT_COMMIT = re.compile(
    r"\s*(ALTER|ANALYZE|CREATE(?!\s+TEMPORARY)|DROP(?!\s+TEMPORARY)|FLUSH|GRANT|LOCK\s+TABLES?"
    r"|OPTIMIZE|RENAME|REPAIR|REVOKE|TRUNCATE|UNLOCK|XA|SET\s+(SESSION\s+|@@)?autocommit"
    r"|SET\s+(SESSION\s+)?TRANSACTION)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=1024)  # statements are constants: judged once
def refuse_implicit_commit(statement: str) -> None:
    """Raise RuntimeError for SQL before which these servers commit (protocol O7, E4)."""
    refuse_control(statement)
    if IMPLICIT_COMMIT.match(statement):
        raise RuntimeError(cannot(" ".join(statement.split(None, 2)[:2]).upper()))


class MysqlTransaction(RunsAtOnce):
    """See core.ports.Transaction. Made by MysqlDatabase.transaction only."""

    __slots__ = ("_acts", "_begun", "_ended", "_failure", "_session", "may_end")

    def __init__(self, session: MysqlSession) -> None:
        self._session = session
        self._acts = CommitActs()
        self._failure: Exception | None = None
        self._begun = False
        """BEGIN goes out before the first statement; READ COMMITTED is the session's default."""
        self._ended = False
        self.may_end = False
        """True once its block is left: until then a handler has it (protocol O7)."""

    async def execute(self, statement: str, *arguments: object) -> int:
        """See Transaction.execute. As on PostgreSQL, an UPDATE counts the rows it found."""
        return (await self._run(statement, arguments))[0]

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Transaction.fetch."""
        return (await self._run(statement, arguments))[1]

    def buffer(self, flush: Callable[[Transaction, Sequence[Any]], Awaitable[None]]) -> list[Any]:
        """See Transaction.buffer."""
        return self._acts.buffer(flush)

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction.on_commit."""
        self._acts.on_commit(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        """See Transaction.on_unknown."""
        self._acts.on_unknown(call)

    async def _run(self, statement: str, arguments: Sequence[object]) -> tuple[int, Sequence[Row]]:
        self._check()
        refuse_implicit_commit(statement)
        try:
            if not self._begun:
                self._begun = True
                await self._session.run("BEGIN")
            result = await self._session.run(statement, *arguments)
        except (*DRIVER_ERRORS, ValueError, PermanentError) as error:
            raise self._doom(error) from error
        if not self._session.is_in_transaction:
            # What stood among other statements cannot be taken back: stop here, loudly.
            self.discard()
            self._failure = RuntimeError("a statement ended the transaction of this unit of work")
            raise self._failure
        return result

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
        if not self._begun or not self._session.is_open:
            return
        try:
            await self._session.run("ROLLBACK")
        except DRIVER_ERRORS:
            self.discard()

    def discard(self) -> None:
        """Drop the connection; the server rolls back."""
        self._ended = True
        self._session.discard()

    async def _flush_and_commit(self) -> None:
        await self._acts.flush(self)
        self._check()
        self._ended = True
        if not self._begun:
            return
        try:
            await self._session.run("COMMIT")
            if crash_points.hook is not None:
                await crash_points.hook("transaction.after_commit", "")
        except DRIVER_ERRORS as error:
            if outcome_is_unknown(error):
                self.discard()
                message = f"the connection broke during COMMIT: {error}"
                raise OutcomeUnknownError(message) from error
            raise self._doom(error) from error

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._ended:
            message = "this transaction is over"
            raise RuntimeError(message)

    def _doom(self, error: BaseException) -> MessagingError:
        meaning = translate(error)
        self._failure = meaning
        return meaning

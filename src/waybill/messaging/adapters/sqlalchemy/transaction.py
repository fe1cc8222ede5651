"""A Transaction that joins the one of a user's AsyncConnection or AsyncSession.

What is appended is flushed as the last act before COMMIT, whoever calls it; what was appended
inside a savepoint goes when that is rolled back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy.engine import TwoPhaseTransaction
from sqlalchemy.ext.asyncio import AsyncSession

from waybill.messaging.adapters.sqlalchemy import events
from waybill.messaging.core.at_once import RunsAtOnce
from waybill.messaging.core.commit_acts import CommitActs, cannot, refuse_control
from waybill.messaging.core.errors import ConfigurationError, MessagingError, TransientError
from waybill.messaging.core.sqlstate import translate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from waybill.messaging.core.commit_acts import Mark
    from waybill.messaging.core.ports import Row, Transaction

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

SAVEPOINT = re.compile(r"\s*(SAVEPOINT|ROLLBACK TO|RELEASE)(?: SAVEPOINT)? (\S+)", re.IGNORECASE)


async def join(owner: AsyncConnection | AsyncSession) -> SqlalchemyTransaction:
    """The Transaction over the open transaction of `owner`; the same one however often asked.

    Raises ConfigurationError for what could lose a message: another driver than asyncpg,
    AUTOCOMMIT, two-phase commit, no open transaction (protocol O2).
    """
    session = owner if isinstance(owner, AsyncSession) else None
    connection = await owner.connection() if isinstance(owner, AsyncSession) else owner
    sync = _checked(connection)
    found = events.joined(sync)
    if not isinstance(found, SqlalchemyTransaction):
        found = SqlalchemyTransaction(connection)
        events.listen(sync, found)
    if session is not None:
        found.session = session
    return found


def _checked(connection: AsyncConnection) -> Connection:
    sync = connection.sync_connection
    if sync is None or sync.get_transaction() is None:
        raise ConfigurationError("join() needs an open transaction: begin() one first")
    if sync.dialect.driver != "asyncpg":
        message = f"join() needs the driver asyncpg, this engine uses {sync.dialect.driver}"
        raise ConfigurationError(message)
    if isinstance(sync.get_transaction(), TwoPhaseTransaction):
        message = "a two-phase transaction cannot carry messages: use an ordinary one"
        raise ConfigurationError(message)
    if getattr(sync.connection.dbapi_connection, "autocommit", False):
        message = (
            "an AUTOCOMMIT connection cannot carry messages, its lane locks would end at once: "
            "use the default isolation level"
        )
        raise ConfigurationError(message)
    return sync


class SqlalchemyTransaction(RunsAtOnce):
    """See core.ports.Transaction. Get one with `join`, or from SqlalchemyDatabase.

    Its own statements go straight to the driver, inside SQLAlchemy's transaction: rows are
    asyncpg's, and they cost a third less.
    """

    session: AsyncSession
    """The session that was joined; a unit of SqlalchemyDatabase always has one."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._acts = CommitActs()
        self._savepoints: list[tuple[str, Mark]] = []
        self._failure: MessagingError | None = None
        self._ended = False
        self.may_commit = True
        """False while a handler has it: only the runtime ends a unit of work (protocol O7)."""

    async def execute(self, statement: str, *arguments: object) -> int:
        """See Transaction.execute."""
        refuse_control(statement)
        driver = await self._driver()
        try:
            status: str = await driver.execute(statement, *arguments)
        except DRIVER_ERRORS as error:
            raise self._doom(error) from error
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Transaction.fetch."""
        refuse_control(statement)
        driver = await self._driver()
        try:
            rows: Sequence[Row] = await driver.fetch(statement, *arguments)
        except DRIVER_ERRORS as error:
            raise self._doom(error) from error
        return rows

    def buffer(self, flush: Callable[[Transaction, Sequence[Any]], Awaitable[None]]) -> list[Any]:
        """See Transaction.buffer."""
        return self._acts.buffer(flush)

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction.on_commit. Made as soon as the connection is done with the COMMIT."""
        self._acts.on_commit(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        """See Transaction.on_unknown. Never called for a joined one: its owner sees the error."""
        self._acts.on_unknown(call)

    async def _driver(self) -> asyncpg.Connection:
        if self._failure is not None:
            raise self._failure
        self.check_open()
        raw = await self._connection.get_raw_connection()
        driver: asyncpg.Connection = raw.driver_connection
        if not driver.is_in_transaction():
            # SQLAlchemy sends BEGIN with its first statement: let it.
            await self._connection.exec_driver_sql("SELECT")
        return driver

    def _doom(self, error: BaseException) -> MessagingError:
        if not self._savepoints:
            self._failure = translate(error)
            return self._failure
        return translate(error)

    def check_open(self) -> None:
        """Raise RuntimeError once it is over; in a unit a TransientError: what ended it is lost."""
        if not self._ended:
            return
        if self.may_commit:
            message = "this transaction is over"
            raise RuntimeError(message)
        message = "this unit of work was rolled back by an error that was swallowed"
        raise TransientError(message)

    def before_commit(self, sync: Connection) -> None:
        """Flush; called by SQLAlchemy between the user's commit() and COMMIT."""
        if not self.may_commit:
            raise RuntimeError(cannot("commit"))
        if self._failure is not None:
            raise self._failure
        adapted = sync.connection.dbapi_connection
        # Begins if nothing was sent yet, and finds out whether an error was swallowed: COMMIT
        # of a failed transaction is a silent ROLLBACK (pitfalls B57).
        sync.exec_driver_sql("SELECT")
        adapted.run_async(lambda _driver: self._acts.flush(self))  # type: ignore[union-attr]

    def before_statement(self, statement: str) -> None:
        """Follow savepoints, the user's own SQL among them."""
        found = SAVEPOINT.match(statement)
        if found is None:
            return
        act, name = found[1].upper(), found[2].strip('";')
        if act == "SAVEPOINT":
            self._savepoints.append((name, self._acts.mark()))
            return
        mark: Mark = ({}, 0)
        while self._savepoints:
            opened, mark = self._savepoints.pop()
            if opened == name:
                break
        else:
            # Opened before the join: all that was appended came after it.
            mark = ({}, 0)
        if act == "ROLLBACK TO":
            self._acts.rewind(mark)
            self._savepoints.append((name, mark))

    def committed(self) -> None:
        """COMMIT has returned."""
        self._ended = True
        self._acts.committed()

    def unknown(self) -> None:
        """COMMIT was sent and its answer never came."""
        self._acts.unknown()

    def rolled_back(self) -> None:
        """ROLLBACK, or a COMMIT that failed."""
        self._ended = True

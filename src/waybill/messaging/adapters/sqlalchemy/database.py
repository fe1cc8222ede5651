"""A Database over a user's AsyncEngine: its units carry a session, so that handlers use the ORM."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import exc
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from waybill.messaging.adapters.sqlalchemy.transaction import join
from waybill.messaging.core import crash_points
from waybill.messaging.core.commit_acts import cannot
from waybill.messaging.core.errors import MessagingError, OutcomeUnknownError
from waybill.messaging.core.sqlstate import outcome_is_unknown, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncEngine

    from waybill.messaging.adapters.sqlalchemy.transaction import SqlalchemyTransaction
    from waybill.messaging.core.ports import Row


class SqlalchemyDatabase:
    """See core.ports.Database. `session` of its transactions is a new session of the factory.

    Errors of SQLAlchemy's that leave the block become messaging errors, as the driver's do.
    """

    def __init__(
        self, engine: AsyncEngine, sessions: Callable[[AsyncEngine], AsyncSession] | None = None
    ) -> None:
        self._engine = engine
        self._sessions = sessions or AsyncSession

    def transaction(self) -> AbstractAsyncContextManager[SqlalchemyTransaction]:
        """See Database.transaction."""
        return _Scope(self._sessions(self._engine))

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Database.fetch."""
        async with self.transaction() as transaction:
            return await transaction.fetch(statement, *arguments)

    async def close(self) -> None:
        """See Database.close. The engine opens new connections if it is used again."""
        await self._engine.dispose()


def translated(error: BaseException) -> MessagingError | None:
    """The messaging error that an error of SQLAlchemy's or of the driver's stands for, if any."""
    if isinstance(error, DBAPIError):
        original = error.orig
        return translate((original.__cause__ if original else None) or original or error)
    if isinstance(error, (OSError, TimeoutError, exc.TimeoutError)):
        return translate(error)
    return None


ENDINGS = ("commit", "rollback", "close", "aclose", "reset", "invalidate")
"""Methods of a session that a handler must not call (protocol O7)."""


async def _refuse(act: str) -> NoReturn:
    """In place of a method of the session."""
    raise RuntimeError(cannot(act))


class _Scope:
    """The block of one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def __aenter__(self) -> SqlalchemyTransaction:
        try:
            await self._session.begin()
            self._transaction = await join(self._session)
            self._transaction.may_commit = False
            for act in ENDINGS:
                setattr(self._session, act, partial(_refuse, act))
            return self._transaction  # noqa: TRY300 - what stands above may fail
        except BaseException as error:
            await self._end(error)
            self._raise_translated(error)
            raise

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self._commit()
        except BaseException as failure:
            await self._end(failure)
            raise
        else:
            await self._end(error)
            if isinstance(error, DBAPIError):
                self._raise_translated(error)

    async def _commit(self) -> None:
        """COMMIT; a cancellation waits until the outcome is known (pitfalls B60)."""
        self._transaction.check_open()
        self._transaction.may_commit = True
        ending = asyncio.ensure_future(self._of_session("commit"))
        try:
            await asyncio.shield(ending)
            if crash_points.hook is not None:
                await crash_points.hook("transaction.after_commit", "")
        except asyncio.CancelledError:
            await asyncio.wait([ending])
            raise
        except DBAPIError as error:
            cause = error.orig.__cause__ if error.orig else None
            if error.connection_invalidated or (cause is not None and outcome_is_unknown(cause)):
                self._transaction.unknown()
                message = f"the connection broke during COMMIT: {error.orig}"
                raise OutcomeUnknownError(message) from error
            self._raise_translated(error)

    async def _end(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, Exception):
            await asyncio.shield(self._of_session("invalidate"))
        else:
            await asyncio.shield(self._of_session("close"))

    def _of_session(self, act: str) -> Coroutine[Any, Any, None]:
        """The session's own method, which a handler has no way to."""
        method: Callable[[AsyncSession], Coroutine[Any, Any, None]] = getattr(
            type(self._session), act
        )
        return method(self._session)

    @staticmethod
    def _raise_translated(error: BaseException) -> None:
        meaning = translated(error)
        if meaning is not None:
            raise meaning from error

"""How a transaction on a pooled connection ends: COMMIT, ROLLBACK, or the connection goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from waybill.messaging.core.errors import OutcomeUnknownError
from waybill.messaging.core.ports import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from waybill.messaging.core.commit_acts import CommitActs


async def commit(acts: CommitActs, flush_and_commit: Coroutine[Any, Any, None]) -> None:
    """Await both, then make the calls. A cancellation waits until the outcome is known (B60).

    They run in one task, so that nothing else of the loop comes between the lane locks and COMMIT
    (protocol O2).
    """
    ending = asyncio.ensure_future(flush_and_commit)
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        ending.add_done_callback(_take_error)
        await asyncio.wait([ending])
        if _take_error(ending) is None:
            acts.committed()
        raise
    except OutcomeUnknownError:
        acts.unknown()
        raise
    acts.committed()


def _take_error(ending: asyncio.Future[None]) -> BaseException | None:
    """What a commit came to whose caller was cancelled; nobody else will ask."""
    return asyncio.CancelledError() if ending.cancelled() else ending.exception()


class Endable(Transaction, Protocol):
    """A transaction that its block ends."""

    may_end: bool

    async def commit(self) -> None:
        """Flush and COMMIT."""

    async def rollback(self) -> None:
        """ROLLBACK."""

    def discard(self) -> None:
        """Drop the connection."""


C = TypeVar("C")


class Pool(Protocol[C]):
    """Where the connection comes from."""

    async def acquire(self) -> C:
        """Take one."""

    async def release(self, connection: C, /) -> None:
        """Give it back."""


class TransactionScope(Generic[C]):
    """Commits on a clean exit, rolls back on an exception, discards what was cancelled."""

    __slots__ = ("_begin", "_connection", "_pool", "_transaction")

    def __init__(self, pool: Pool[C], begin: Callable[[C], Endable]) -> None:
        self._pool = pool
        self._begin = begin

    async def __aenter__(self) -> Transaction:
        self._connection = await self._pool.acquire()
        self._transaction = self._begin(self._connection)
        return self._transaction

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._transaction.may_end = True
        try:
            if error is None:
                await self._transaction.commit()
            await self._end(error)
        except BaseException as failure:
            await self._end(failure)
            raise
        finally:
            await self._pool.release(self._connection)

    async def _end(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            await self._transaction.rollback()
        elif error is not None:
            # Cancelled in mid-air: nobody knows what is still on the wire (pitfalls B60).
            self._transaction.discard()

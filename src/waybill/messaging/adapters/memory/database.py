"""Transactions in memory: READ COMMITTED with row locks, rollback, and deadlocks that are found.

A write takes its row's lock until the end and becomes visible to others at COMMIT, all at once.
Values are kept as they are handed in, so they must not be changed afterwards.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from waybill.messaging.core import crash_points
from waybill.messaging.core.at_once import RunsAtOnce
from waybill.messaging.core.commit_acts import CommitActs
from waybill.messaging.core.errors import ConfigurationError, OutcomeUnknownError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
    from datetime import datetime

    from waybill.messaging.core.ports import Row, Transaction

DELETED = object()
"""Stands in a transaction's writes for a row that it removed."""


class Clock(Protocol):
    """What the memory adapters need of the runtime's clock."""

    def now(self) -> datetime:
        """The database's clock, UTC."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until the event is set, at most `seconds`; whether it is set."""


class MemoryTransaction(RunsAtOnce):
    """One open transaction. Implements `Transaction`; SQL is looked up, see MemoryDatabase."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.database = database
        self.ended = asyncio.Event()
        self.waits_for: MemoryTransaction | None = None
        self._writes: dict[tuple[str, Hashable], object] = {}
        self._locks: list[tuple[str, Hashable]] = []
        self._acts = CommitActs()
        self._applies: list[Callable[[], None]] = []
        self._doomed = False

    async def execute(self, statement: str, *arguments: object) -> int:
        """See Transaction; the number of rows that the statement's function returned."""
        return len(await self.fetch(statement, *arguments))

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Transaction."""
        function = self.database.statements.get(statement)
        if function is None:
            reason = f"no function stands for this statement in memory: {statement}"
            raise ConfigurationError(reason)
        try:
            return await function(self, *arguments)
        except BaseException:
            self._doomed = True
            raise

    def buffer(self, flush: Callable[[Transaction, Sequence[Any]], Awaitable[None]]) -> list[Any]:
        """See Transaction."""
        return self._acts.buffer(flush)

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction."""
        self._acts.on_commit(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        """See Transaction."""
        self._acts.on_unknown(call)

    def on_apply(self, apply: Callable[[], None]) -> None:
        """For adapters: part of COMMIT itself, so it happens even if COMMIT's answer is lost."""
        self._applies.append(apply)

    def get(self, table: str, key: Hashable) -> Any:  # noqa: ANN401 - rows are the caller's
        """The row as this transaction sees it now, or None."""
        value = self._writes.get((table, key))
        if value is None:
            return self.database.tables.get(table, {}).get(key)
        return None if value is DELETED else value

    def rows(self, table: str) -> dict[Any, Any]:
        """All rows of the table as this transaction sees them now."""
        rows = dict(self.database.tables.get(table, {}))
        for (written, key), value in self._writes.items():
            if written == table:
                rows[key] = value
        return {key: value for key, value in rows.items() if value is not DELETED}

    async def put(self, table: str, key: Hashable, value: object) -> None:
        """Insert or replace the row, under its lock."""
        await self.lock(table, key)
        self._writes[(table, key)] = value

    async def delete(self, table: str, key: Hashable) -> None:
        """Remove the row, under its lock."""
        await self.lock(table, key)
        self._writes[(table, key)] = DELETED

    async def lock(self, table: str, key: Hashable) -> None:
        """Take the row's lock (it need not exist); TransientError if that closes a circle."""
        if self.ended.is_set():
            reason = "this transaction is over"
            raise RuntimeError(reason)
        row = (table, key)
        locks = self.database.locks
        while (owner := locks.get(row)) is not self:
            if owner is None:
                locks[row] = self
                self._locks.append(row)
                return
            await self._wait_for(owner)

    async def _wait_for(self, owner: MemoryTransaction) -> None:
        next_owner: MemoryTransaction | None = owner
        while next_owner is not None:
            if next_owner is self:
                self._doomed = True
                reason = "deadlock: this transaction was chosen to give way"
                raise TransientError(reason)
            next_owner = next_owner.waits_for
        self.waits_for = owner
        try:
            await owner.ended.wait()
        finally:
            self.waits_for = None

    async def commit(self) -> None:
        """Flush, make all writes visible, then call what waited for the commit.

        A cancellation waits until the outcome is known (pitfall B60).
        """
        ending = asyncio.ensure_future(self._flush_and_apply())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait([ending])
            if not ending.cancelled() and ending.exception() is None:
                self._acts.committed()
            raise
        except OutcomeUnknownError:
            self._acts.unknown()
            raise
        self._acts.committed()

    async def _flush_and_apply(self) -> None:
        if not self._doomed:
            await self._acts.flush(self)
        if self._doomed:
            reason = "a statement of this transaction failed, so it cannot commit"
            raise TransientError(reason)
        self.database.fault("commit")
        for (table, key), value in self._writes.items():
            rows = self.database.tables.setdefault(table, {})
            if value is DELETED:
                rows.pop(key, None)
            else:
                rows[key] = value
        for apply in self._applies:
            apply()
        self.end()
        self.database.fault("committed")
        if crash_points.hook is not None:
            await crash_points.hook("transaction.after_commit", "")

    def end(self) -> None:
        """Release the locks; without a commit before it, this is the rollback."""
        for row in self._locks:
            del self.database.locks[row]
        self._locks.clear()
        self._writes.clear()
        self.ended.set()


class MemoryDatabase:
    """Tables in memory. Implements `Database`.

    `statements` maps the text of a statement to `async function(transaction, *arguments)`.
    `fault` is called with "begin", "commit" and "committed" and may raise: an outage
    (TransientError) or a lost answer (OutcomeUnknownError at "committed").
    """

    def __init__(
        self,
        *,
        statements: Mapping[str, Callable[..., Awaitable[Sequence[Row]]]] | None = None,
        fault: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self.statements = dict(statements or {})
        self.fault = fault
        self.tables: dict[str, dict[Any, Any]] = {}
        self.locks: dict[tuple[str, Hashable], MemoryTransaction] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        """See Database."""
        self.fault("begin")
        transaction = MemoryTransaction(self)
        try:
            yield transaction
            await transaction.commit()
        finally:
            transaction.end()

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Database."""
        async with self.transaction() as transaction:
            return await transaction.fetch(statement, *arguments)

    async def close(self) -> None:
        """See Database. Memory has nothing to close."""


def in_memory(transaction: Transaction) -> MemoryTransaction:
    """The transaction, if it is one of ours; adapters of two technologies cannot be mixed."""
    if not isinstance(transaction, MemoryTransaction):
        reason = f"a memory adapter needs a MemoryTransaction, not {type(transaction).__name__}"
        raise ConfigurationError(reason)
    return transaction

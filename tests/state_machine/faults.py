"""A service's process as faults see it: it breaks, dies or loses an answer at a chosen statement.

Transactions of all services run one after the other, in the order in which they were begun, so
that the same rules always lead to the same run. What happens between transactions is what the
state machine explores; what happens between statements of two is the race explorer's.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.state_machine.virtual_time import OWNER, VirtualLoop

from waybill.messaging.core.at_once import RunsAtOnce
from waybill.messaging.core.errors import OutcomeUnknownError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from waybill.messaging.core.crash_points import Hook
    from waybill.messaging.core.ports import Row, Transaction


BEFORE_STATEMENT = "transaction.before_statement"
"""Beside the product's own crash points, so that no gap between two locks is left out."""


class Act(Enum):
    """What goes wrong."""

    BREAK = "the connection breaks"
    KILL = "the process is killed"
    LOSE_COMMIT = "COMMIT never arrives"
    LOSE_ANSWER = "COMMIT is done, its answer is lost"
    KILL_AFTER_COMMIT = "COMMIT is done, then the process is killed"

    @property
    def at_commit(self) -> bool:
        """Whether it waits for the next COMMIT."""
        return self not in {Act.BREAK, Act.KILL}


@dataclass
class Fault:
    """`statements` pass (BEGIN and COMMIT count), then it happens, once."""

    act: Act
    statements: int


class KilledError(BaseException):
    """Unwinds the transaction of a killed process; never seen outside of it."""


@dataclass(eq=False)
class Process:
    """One life of one service."""

    name: str
    fault: Fault | None = None
    down: bool = False
    """Its database cannot be reached."""
    killed: bool = False
    ended: bool = False
    """Its tasks are being collected: what they still try fails at once."""
    commits: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    watch: Hook | None = None
    """Awaited before each statement of a transaction."""

    def reach(self) -> None:
        """A statement is about to be sent."""
        if self.ended:
            raise TransientError(f"{self.name} is gone")
        if self.killed:
            raise KilledError
        if self.down:
            raise TransientError(f"{self.name}: the database cannot be reached")
        act = self._due()
        if act is Act.BREAK:
            raise TransientError(f"{self.name}: the connection broke")
        if act is Act.KILL:
            self.killed = True
            raise KilledError

    def fate_of_commit(self) -> Act | None:
        """What happens to the COMMIT that is about to be sent."""
        if self.fault is not None and self.fault.act.at_commit:
            act = self.fault.act
            self.fault = None
            return act
        self.reach()
        return None

    def _due(self) -> Act | None:
        if self.fault is None or self.fault.act.at_commit:
            return None
        if self.fault.statements > 0:
            self.fault.statements -= 1
            return None
        act, self.fault = self.fault.act, None
        return act

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run this inside the process: it dies with it, and so does all that it starts."""
        token = OWNER.set(self.tasks)
        try:
            return asyncio.create_task(work)
        finally:
            OWNER.reset(token)

    async def end(self) -> None:
        """Nothing of it runs any more, and nothing it still tries reaches a database."""
        self.killed = self.ended = True
        while self.tasks:
            tasks = list(self.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Turn:
    """One transaction at a time, first come first served; its own task may say more within it.

    `is_free`: everybody at once, for those who look at what happens between statements.
    """

    def __init__(self, *, is_free: bool = False) -> None:
        self._is_free = is_free
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for the turn."""
        if self._is_free or self._holder is asyncio.current_task():
            yield
            return
        async with self._lock:
            self._holder = asyncio.current_task()
            try:
                yield
            finally:
                self._holder = None


class FaultyTransaction(RunsAtOnce):
    """See Transaction: statements pass the process's faults on their way."""

    def __init__(self, inner: Transaction, process: Process, loop: VirtualLoop) -> None:
        self._inner = inner
        self._process = process
        self._loop = loop
        self._failure: BaseException | None = None
        self.doubts: list[Callable[[], None]] = []
        """For a COMMIT that was lost on its way: its client cannot know that."""

    async def execute(self, statement: str, *arguments: object) -> int:
        """See Transaction.execute."""
        await self._before_statement()
        with self._loop.statement():
            return await self._inner.execute(statement, *arguments)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Transaction.fetch."""
        await self._before_statement()
        with self._loop.statement():
            return await self._inner.fetch(statement, *arguments)

    def buffer(self, flush: Callable[[Transaction, Sequence[Any]], Awaitable[None]]) -> list[Any]:
        """See Transaction.buffer."""
        return self._inner.buffer(flush)

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction.on_commit."""
        self._inner.on_commit(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        """See Transaction.on_unknown."""
        self.doubts.append(call)
        self._inner.on_unknown(call)

    async def _before_statement(self) -> None:
        if self._process.watch is not None:
            await self._process.watch(BEFORE_STATEMENT, self._process.name)
        self.reach()

    def check(self) -> None:
        """An error dooms the transaction: it comes again at every later statement."""
        if self._failure is not None:
            raise self._failure

    def reach(self) -> None:
        """A statement is about to be sent."""
        self.check()
        try:
            self._process.reach()
        except BaseException as failure:
            self._failure = failure
            raise


class FaultyDatabase:
    """See Database: one service's, in one life of its process."""

    def __init__(
        self,
        inner: Any,  # noqa: ANN401 - a pool of either engine
        process: Process,
        turn: Turn,
        loop: VirtualLoop,
    ) -> None:
        self._inner = inner
        self._process = process
        self._turn = turn
        self._loop = loop
        self.server = inner.server

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See Database.transaction."""
        try:
            async with self._turn.taken(), self._transaction() as transaction:
                yield transaction
        except KilledError:
            await _never()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        self._process.reach()
        scope = self._inner.transaction()
        with self._loop.statement():
            inner = await scope.__aenter__()
        transaction = FaultyTransaction(inner, self._process, self._loop)
        fate: Act | None = None
        try:
            yield transaction
            transaction.check()
            fate = self._process.fate_of_commit()
            if fate is Act.LOSE_COMMIT:
                for doubt in transaction.doubts:
                    doubt()
                raise OutcomeUnknownError(f"{self._process.name}: {fate.value}")  # noqa: TRY301 - rolled back as any
        except BaseException as error:
            # Ended by an Exception, the connection stays: the server has rolled back all the same.
            with self._loop.statement():
                rolled_back = error if isinstance(error, Exception) else TransientError("ended")
                await scope.__aexit__(type(rolled_back), rolled_back, None)
            raise
        self._process.commits += 1
        _fate.set(None if fate is None else (fate, self._process))
        with self._loop.statement():
            await scope.__aexit__(None, None, None)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Database.fetch."""
        try:
            async with self._turn.taken():
                self._process.reach()
                self._process.commits += 1
                with self._loop.statement():
                    rows: Sequence[Row] = await self._inner.fetch(statement, *arguments)
                    return rows
        except KilledError:
            await _never()
            raise

    async def close(self) -> None:
        """The pool outlives the process: it is the test's."""


_fate: ContextVar[tuple[Act, Process] | None] = ContextVar("fate", default=None)
"""What happens behind the COMMIT that this task is about to send."""


async def reach_point(point: str, _name: str) -> None:
    """See core.crash_points.Hook: behind a COMMIT, its answer may be lost."""
    fate = _fate.get()
    if point == "transaction.after_commit" and fate is not None:
        _fate.set(None)
        act, process = fate
        if act is Act.KILL_AFTER_COMMIT:
            process.killed = True
            raise KilledError
        raise OutcomeUnknownError(f"{process.name}: {act.value}")


async def _never() -> None:
    """A killed process does nothing more, not even fail."""
    await asyncio.get_running_loop().create_future()

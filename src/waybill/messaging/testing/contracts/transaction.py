"""What every Database and Transaction must do, whatever stands behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database, Transaction

FEW_SECONDS = 10.0


class Probe(Protocol):
    """State that a test writes in a transaction and reads from outside."""

    async def write(self, transaction: Transaction, value: str) -> None:
        """Store a value in this transaction."""

    async def read(self) -> list[str]:
        """All committed values, in the order of their writing."""


class TransactionContract:
    """Fixtures to give: `database` (a Database), `probe` (a Probe on it)."""

    async def test_clean_exit_commits(self, database: Database, probe: Probe) -> None:
        """What a block wrote is there when the block has ended."""
        async with database.transaction() as transaction:
            await probe.write(transaction, "kept")
        assert await probe.read() == ["kept"]

    async def test_exception_rolls_back_and_passes(self, database: Database, probe: Probe) -> None:
        """An exception undoes the whole block and reaches the caller as it was."""
        raised = LookupError("no such order")
        with pytest.raises(LookupError) as caught:
            async with database.transaction() as transaction:
                await probe.write(transaction, "lost")
                raise raised
        assert caught.value is raised
        assert await probe.read() == []

    async def test_open_transaction_is_invisible(self, database: Database, probe: Probe) -> None:
        """Nobody sees a write before its commit."""
        async with database.transaction() as transaction:
            await probe.write(transaction, "later")
            assert await probe.read() == []
        assert await probe.read() == ["later"]

    async def test_calls_follow_the_commit_in_order(self, database: Database) -> None:
        """on_commit calls come after the block, in the order in which they were given."""
        calls: list[int] = []
        async with database.transaction() as transaction:
            transaction.on_commit(lambda: calls.append(1))
            transaction.on_commit(lambda: calls.append(2))
            assert calls == []
        assert calls == [1, 2]

    async def test_no_calls_after_a_rollback(self, database: Database) -> None:
        """on_commit calls never come after a rollback."""
        calls: list[int] = []
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                transaction.on_commit(lambda: calls.append(1))
                raise LookupError
        assert calls == []

    async def test_no_doubt_about_what_is_known(self, database: Database) -> None:
        """on_unknown calls come neither after a commit nor after a rollback."""
        calls: list[int] = []
        async with database.transaction() as transaction:
            transaction.on_unknown(lambda: calls.append(1))
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                transaction.on_unknown(lambda: calls.append(2))
                raise LookupError
        assert calls == []

    async def test_failing_call_does_not_fail_the_unit(
        self, database: Database, probe: Probe
    ) -> None:
        """The commit stands when a call after it raises, and the other calls are made."""
        calls: list[int] = []
        async with database.transaction() as transaction:
            await probe.write(transaction, "kept")
            transaction.on_commit(lambda: calls.append(1 // 0))
            transaction.on_commit(lambda: calls.append(2))
        assert calls == [2]
        assert await probe.read() == ["kept"]

    async def test_flush_is_the_last_act(self, database: Database, probe: Probe) -> None:
        """Protocol O2: a buffer is flushed once, after every write, with its items in order."""
        flush = RecordedFlush(probe)
        async with database.transaction() as transaction:
            transaction.buffer(flush.flush).append("first")
            await probe.write(transaction, "a write")
            transaction.buffer(flush.flush).append("second")
            assert flush.seen == []
        assert flush.seen == [["first", "second"]]
        assert await probe.read() == ["a write", "first", "second"]

    async def test_nothing_to_flush(self, database: Database, probe: Probe) -> None:
        """Protocol O2: an empty buffer is not flushed, nor is one that was rolled back."""
        flush = RecordedFlush(probe)
        async with database.transaction() as transaction:
            transaction.buffer(flush.flush)
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                transaction.buffer(flush.flush).append("lost")
                raise LookupError
        assert flush.seen == []

    async def test_buffering_after_the_flush_raises(self, database: Database, probe: Probe) -> None:
        """Protocol O2: what would miss the flush is refused, and nothing is committed."""

        async def flush(transaction: Transaction, items: Sequence[Any]) -> None:
            await probe.write(transaction, str(items[0]))
            transaction.buffer(flush).append("too late")

        with pytest.raises(RuntimeError, match="already flushed"):
            async with database.transaction() as transaction:
                transaction.buffer(flush).append("an item")
        assert await probe.read() == []

    async def test_failing_flush_undoes_the_unit(self, database: Database, probe: Probe) -> None:
        """State without its messages is never committed."""

        async def flush(_transaction: Transaction, _items: Sequence[Any]) -> None:
            raise LookupError

        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                await probe.write(transaction, "lost")
                transaction.buffer(flush).append("an item")
        assert await probe.read() == []

    async def test_ended_transaction_is_refused(self, database: Database, probe: Probe) -> None:
        """A statement after the block raises in place of running outside any transaction."""
        async with database.transaction() as transaction:
            pass
        with pytest.raises(RuntimeError):
            await probe.write(transaction, "stray")
        assert await probe.read() == []

    async def test_cancelled_block_leaves_nothing(self, database: Database, probe: Probe) -> None:
        """Pitfall B60: a cancelled unit leaves no write behind, and the database goes on."""
        written = asyncio.Event()

        async def unit() -> None:
            async with database.transaction() as transaction:
                await probe.write(transaction, "lost")
                written.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(unit())
        async with asyncio.timeout(FEW_SECONDS):
            await written.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with database.transaction() as transaction:
                await probe.write(transaction, "next")
        assert await probe.read() == ["next"]

    async def test_cancelled_commit_is_finished(self, database: Database, probe: Probe) -> None:
        """Pitfall B60: a cancellation that comes in the flush waits for the outcome."""
        flushing, go_on = asyncio.Event(), asyncio.Event()
        calls: list[int] = []

        async def flush(transaction: Transaction, items: Sequence[Any]) -> None:
            flushing.set()
            await go_on.wait()
            await probe.write(transaction, str(items[0]))

        async def unit() -> None:
            async with database.transaction() as transaction:
                transaction.on_commit(lambda: calls.append(1))
                transaction.buffer(flush).append("kept")

        task = asyncio.ensure_future(unit())
        async with asyncio.timeout(FEW_SECONDS):
            await flushing.wait()
            task.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await probe.read() == ["kept"]
        assert calls == [1]


class RecordedFlush:
    """Writes what it flushes, and remembers it."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.seen: list[list[Any]] = []

    async def flush(self, transaction: Transaction, items: Sequence[Any]) -> None:
        """Called by the transaction."""
        self.seen.append(list(items))
        for item in items:
            await self._probe.write(transaction, str(item))

"""The memory adapters keep the contracts of their ports: they are adapters, not mocks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.memory import (
    MemoryDatabase,
    MemoryInbox,
    MemoryLog,
    MemoryLogWriter,
    MemoryOutbox,
    MemoryTransaction,
)
from waybill.messaging.adapters.memory.dead_letters import DEAD_LETTERS, DeadLetterRow, Verdict
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.message import Record
from waybill.messaging.core.ports import DeadLetter
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.testing.contracts.inbox import InboxContract
from waybill.messaging.testing.contracts.log import LogContract
from waybill.messaging.testing.contracts.log_writer import LogWriterContract
from waybill.messaging.testing.contracts.outbox import OutboxContract, a_message
from waybill.messaging.testing.contracts.transaction import TransactionContract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Row, Transaction
    from waybill.messaging.testing.contracts.inbox import Letters
    from waybill.messaging.testing.contracts.log_writer import LogReader
    from waybill.messaging.testing.contracts.outbox import Reader

VALUES = "values"


class MemoryProbe:
    """Writes values into a table, keyed by their number."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._numbers = 0

    async def write(self, transaction: Transaction, value: str) -> None:
        """See Probe."""
        assert isinstance(transaction, MemoryTransaction)
        self._numbers += 1
        await transaction.put(VALUES, self._numbers, value)

    async def read(self) -> list[str]:
        """See Probe."""
        rows = self._database.tables.get(VALUES, {})
        return [rows[number] for number in sorted(rows)]


@pytest.fixture
def database() -> MemoryDatabase:
    """An empty one."""
    return MemoryDatabase()


@pytest.fixture
def outbox() -> MemoryOutbox:
    """An empty one, with the default limits."""
    return MemoryOutbox()


class TestMemoryTransaction(TransactionContract):
    @pytest.fixture
    def probe(self, database: MemoryDatabase) -> MemoryProbe:
        return MemoryProbe(database)

    async def test_two_that_wait_for_each_other_are_told(self, database: MemoryDatabase) -> None:
        """A deadlock ends with a TransientError for one of the two; the other goes on."""
        both_hold = asyncio.Barrier(2)

        async def unit(first: str, second: str) -> None:
            async with database.transaction() as transaction:
                await transaction.put(VALUES, first, first)
                await both_hold.wait()
                await transaction.put(VALUES, second, second)

        async with asyncio.timeout(5):
            results = await asyncio.gather(unit("a", "b"), unit("b", "a"), return_exceptions=True)
        assert [type(result) for result in results if result is not None] == [TransientError]

    async def test_a_swallowed_error_is_not_committed(self, database: MemoryDatabase) -> None:
        """Pitfalls B56, B57: a statement that failed dooms its transaction."""

        async def fail(_transaction: MemoryTransaction) -> Sequence[Row]:
            raise LookupError

        database.statements["fail"] = fail
        with pytest.raises(TransientError):
            async with database.transaction() as transaction:
                await transaction.put(VALUES, 1, "lost")
                with pytest.raises(LookupError):
                    await transaction.execute("fail")
        assert database.tables == {}


class TestMemoryOutbox(OutboxContract):
    @pytest.fixture
    def read(self, outbox: MemoryOutbox) -> Reader:
        async def read(lane: int, after: int, limit: int) -> Sequence[Record]:
            await asyncio.sleep(0)
            rows = [row for row in outbox.lanes[lane] if row.seq > after]
            return [Record("source", lane, row.seq, row.message) for row in rows[:limit]]

        return read


class TestMemoryInbox(InboxContract):
    @pytest.fixture
    def inbox(self) -> MemoryInbox:
        return MemoryInbox()

    @pytest.fixture
    def letters(self, database: MemoryDatabase) -> Letters:
        async def put(consumer: str, message_id: UUID, verdict: str) -> None:
            record = Record("source", 0, 1, a_message(id=message_id))
            row = DeadLetterRow(
                DeadLetter(consumer, record, "ValueError", "no"),
                Verdict(verdict),
                datetime.now(UTC),  # noqa: TID251 - a row like any other
            )
            async with database.transaction() as transaction:
                await transaction.put(DEAD_LETTERS, (consumer, message_id), row)

        return put


class TestMemoryLog(LogContract):
    @pytest.fixture
    def producing(self) -> MemoryDatabase:
        return MemoryDatabase()

    @pytest.fixture
    def consuming(self) -> MemoryDatabase:
        return MemoryDatabase()

    @pytest.fixture
    def make_log(self, consuming: MemoryDatabase, outbox: MemoryOutbox) -> Callable[[], MemoryLog]:
        return lambda: MemoryLog({"parcels": outbox}, consuming, SystemClock(), poll_seconds=0.05)


class TestMemoryLogWriter(LogWriterContract):
    @pytest.fixture
    def writer(self) -> MemoryLogWriter:
        return MemoryLogWriter(value_bytes_max=1_000)

    @pytest.fixture
    def topic(self) -> str:
        return "parcel-events"

    @pytest.fixture
    def other_topic(self) -> str:
        return "van-events"

    @pytest.fixture
    def value_bytes_too_many(self) -> int:
        return 1_001

    @pytest.fixture
    def read_log(self, writer: MemoryLogWriter) -> LogReader:
        async def read(topic: str, count: int) -> Sequence[Message]:
            return [record.message for record in writer.topics[topic][:count]]

        return read

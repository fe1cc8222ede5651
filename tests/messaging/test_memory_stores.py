"""Dead letters and deliveries in memory keep the contracts of their ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from waybill.messaging.adapters.memory import MemoryDatabase, MemoryOutbox
from waybill.messaging.adapters.memory.dead_letters import MemoryDeadLetters, Verdict
from waybill.messaging.adapters.memory.deliveries import MemoryDeliveries
from waybill.messaging.core.message import Record
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.testing.contracts.dead_letters import DeadLettersContract, Judge
from waybill.messaging.testing.contracts.deliveries import DeliveriesContract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


@pytest.fixture
def database() -> MemoryDatabase:
    """An empty one."""
    return MemoryDatabase()


class TestMemoryDeadLetters(DeadLettersContract):
    @pytest.fixture
    def outbox(self) -> MemoryOutbox:
        return MemoryOutbox()

    @pytest.fixture
    def dead_letters(self, database: MemoryDatabase, outbox: MemoryOutbox) -> MemoryDeadLetters:
        return MemoryDeadLetters(database, outbox, SystemClock())

    @pytest.fixture
    def read(self, outbox: MemoryOutbox) -> object:
        async def records(lane: int, after: int, limit: int) -> list[Record]:
            rows = [row for row in outbox.lanes[lane] if row.seq > after]
            return [Record("", lane, row.seq, row.message) for row in rows[:limit]]

        return records

    @pytest.fixture
    def judge(self, dead_letters: MemoryDeadLetters) -> Judge:
        async def give(
            consumer: str, message_ids: Sequence[UUID], verdict: Literal["REDRIVE", "DISCARDED"]
        ) -> None:
            await dead_letters.give_verdict(consumer, message_ids, Verdict(verdict))

        return give


class TestMemoryDeliveries(DeliveriesContract):
    @pytest.fixture
    def deliveries(self, database: MemoryDatabase) -> MemoryDeliveries:
        return MemoryDeliveries(database, SystemClock())

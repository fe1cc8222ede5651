"""The dead letters in memory, with the two verdicts that an operator can give."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.adapters.memory.database import Clock, MemoryDatabase, in_memory
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.core.ports import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Outbox, Transaction

DEAD_LETTERS = "dead_letters"


class Verdict(Enum):
    """What became of a dead letter."""

    OPEN = "OPEN"
    REDRIVE = "REDRIVE"
    REDRIVEN = "REDRIVEN"
    DISCARDED = "DISCARDED"


class DeadLetterRow(msgspec.Struct, frozen=True):
    """One row of the table."""

    letter: DeadLetter
    verdict: Verdict
    created_at: datetime


class MemoryDeadLetters:
    """Implements `DeadLetters`."""

    def __init__(self, database: MemoryDatabase, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    @property
    def rows(self) -> list[DeadLetterRow]:
        """All committed ones, oldest first."""
        return list(self._database.tables.get(DEAD_LETTERS, {}).values())

    async def add(self, transaction: Transaction, letters: Sequence[DeadLetter]) -> None:
        """See DeadLetters. An operator's verdict outlives repeats; one to redrive is open again."""
        memory = in_memory(transaction)
        for letter in sorted(letters, key=lambda each: each.record.message.id):
            key = (letter.consumer, letter.record.message.id)
            await memory.lock(DEAD_LETTERS, key)
            old: DeadLetterRow | None = memory.get(DEAD_LETTERS, key)
            verdict = old.verdict if old and old.verdict is not Verdict.REDRIVE else Verdict.OPEN
            created_at = old.created_at if old else self._clock.now()
            row = DeadLetterRow(letter, verdict, created_at)
            await memory.put(DEAD_LETTERS, key, row)
            if old is not None and old.verdict is not Verdict.REDRIVE:
                continue
            message = letter.record.message
            topic = message.topic + DEAD_LETTER_SUFFIX
            record = msgspec.structs.replace(
                message, id=new_id(), topic=topic, aggregate_version=None, causation_id=message.id
            )
            self._outbox.append(transaction, (record,))

    async def redrivable(self, consumer: str, limit: int) -> Sequence[DeadLetter]:
        """See DeadLetters."""
        self._database.fault("begin")
        letters = [
            row.letter
            for row in self.rows
            if row.verdict is Verdict.REDRIVE and row.letter.consumer == consumer
        ]
        return letters[:limit]

    async def redriven(
        self, transaction: Transaction, consumer: str, message_ids: Sequence[UUID]
    ) -> None:
        """See DeadLetters."""
        memory = in_memory(transaction)
        for message_id in sorted(message_ids):
            key = (consumer, message_id)
            await memory.lock(DEAD_LETTERS, key)
            row: DeadLetterRow | None = memory.get(DEAD_LETTERS, key)
            if row is not None:
                redriven = msgspec.structs.replace(row, verdict=Verdict.REDRIVEN)
                await memory.put(DEAD_LETTERS, key, redriven)

    async def recent(self, consumer: str, window_seconds: float) -> int:
        """See DeadLetters."""
        self._database.fault("begin")
        since = self._clock.now() - timedelta(seconds=window_seconds)
        recent = (row.letter for row in self.rows if row.created_at > since)
        return len({each.record.message.key for each in recent if each.consumer == consumer})

    async def give_verdict(
        self, consumer: str, message_ids: Sequence[UUID], verdict: Verdict
    ) -> None:
        """What an operator does: REDRIVE or DISCARDED for open letters."""
        async with self._database.transaction() as transaction:
            for message_id in sorted(message_ids):
                key = (consumer, message_id)
                await transaction.lock(DEAD_LETTERS, key)
                row: DeadLetterRow = transaction.get(DEAD_LETTERS, key)
                judged = msgspec.structs.replace(row, verdict=verdict)
                await transaction.put(DEAD_LETTERS, key, judged)

"""What every DeadLetters must do: keep what could not be applied, and remember the verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
import pytest

from waybill.messaging.core.lanes import DEAD_LETTER_LANE
from waybill.messaging.core.message import Record
from waybill.messaging.core.ports import DeadLetter
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, DeadLetters
    from waybill.messaging.testing.contracts.outbox import Reader

CONSUMER = "tracking"
WINDOW_SECONDS = 600.0


class Judge(Protocol):
    """The operator's side."""

    async def __call__(
        self, consumer: str, message_ids: Sequence[UUID], verdict: Literal["REDRIVE", "DISCARDED"]
    ) -> None:
        """Give a verdict on open letters."""


def a_letter(consumer: str = CONSUMER, *, key: str = "k", error: str = "no") -> DeadLetter:
    """A dead letter like any other."""
    message = a_message(
        key,
        value=b"\x00\xff raw",
        aggregate_version=7,
        headers={"x-a": b"\x01"},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return DeadLetter(
        consumer=consumer,
        record=Record("parcels", 3, 41, message),
        error_type="parcels.NoSuchParcel",
        error_message=error,
        stacktrace="Traceback …",
    )


class DeadLettersContract:
    """Fixtures to give: `database`, `dead_letters`, `read` (a Reader of its outbox), `judge`."""

    async def _add(
        self, database: Database, dead_letters: DeadLetters, *letters: DeadLetter
    ) -> None:
        async with database.transaction() as transaction:
            await dead_letters.add(transaction, letters)

    async def test_record_in_the_dead_letter_topic_keeps_the_message(
        self, database: Database, dead_letters: DeadLetters, read: Reader
    ) -> None:
        """Protocol C5: key, value bytes and headers as they were; no aggregate version; own id."""
        letter = a_letter()
        await self._add(database, dead_letters, letter)
        (record,) = await read(DEAD_LETTER_LANE, 0, 10)
        original, copy = letter.record.message, record.message
        assert copy.topic == original.topic + ".DLT"
        assert (copy.key, copy.value, copy.type) == (original.key, original.value, original.type)
        assert copy.headers.items() >= original.headers.items()
        assert copy.aggregate_version is None
        assert copy.id != original.id
        assert copy.causation_id == original.id
        assert copy.correlation_id == original.correlation_id
        assert copy.traceparent == original.traceparent

    async def test_rolled_back_letters_never_existed(
        self, database: Database, dead_letters: DeadLetters, read: Reader
    ) -> None:
        """Protocol C5: the letter stands in the batch's own transaction."""
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                await dead_letters.add(transaction, [a_letter()])
                raise LookupError
        assert await dead_letters.recent(CONSUMER, WINDOW_SECONDS) == 0
        assert await read(DEAD_LETTER_LANE, 0, 10) == []

    async def test_repeat_of_an_open_letter_is_one_letter(
        self, database: Database, dead_letters: DeadLetters, read: Reader, judge: Judge
    ) -> None:
        """Pitfall B32: repeats collapse; the newest error is kept, the topic gets one record."""
        letter = a_letter()
        newer = msgspec.structs.replace(letter, error_message="still no")
        await self._add(database, dead_letters, letter)
        await self._add(database, dead_letters, newer)
        assert await dead_letters.recent(CONSUMER, WINDOW_SECONDS) == 1
        assert len(await read(DEAD_LETTER_LANE, 0, 10)) == 1
        await judge(CONSUMER, [letter.record.message.id], "REDRIVE")
        assert list(await dead_letters.redrivable(CONSUMER, 10)) == [newer]

    async def test_two_consumers_fail_on_one_message_apart(
        self, database: Database, dead_letters: DeadLetters, read: Reader, judge: Judge
    ) -> None:
        """A verdict belongs to one consumer."""
        first = a_letter()
        second = msgspec.structs.replace(first, consumer="billing")
        await self._add(database, dead_letters, first, second)
        assert len({r.message.id for r in await read(DEAD_LETTER_LANE, 0, 10)}) == 2
        await judge("billing", [first.record.message.id], "REDRIVE")
        assert list(await dead_letters.redrivable(CONSUMER, 10)) == []
        assert list(await dead_letters.redrivable("billing", 10)) == [second]

    async def test_redrivable_letters_come_back_whole_oldest_first(
        self, database: Database, dead_letters: DeadLetters, judge: Judge
    ) -> None:
        """A redrive applies exactly what failed; only what an operator asked for."""
        letters = [a_letter(key=f"key-{n}") for n in range(5)]
        for letter in letters:
            await self._add(database, dead_letters, letter)
        assert list(await dead_letters.redrivable(CONSUMER, 10)) == []
        await judge(CONSUMER, [letter.record.message.id for letter in letters[1:]], "REDRIVE")
        assert list(await dead_letters.redrivable(CONSUMER, 3)) == letters[1:4]

    async def test_redriven_letters_are_done(
        self, database: Database, dead_letters: DeadLetters, judge: Judge
    ) -> None:
        """The verdict REDRIVEN commits with the effects, or not at all."""
        letter = a_letter()
        ids = [letter.record.message.id]
        await self._add(database, dead_letters, letter)
        await judge(CONSUMER, ids, "REDRIVE")
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                await dead_letters.redriven(transaction, CONSUMER, ids)
                raise LookupError
        assert len(await dead_letters.redrivable(CONSUMER, 10)) == 1
        async with database.transaction() as transaction:
            await dead_letters.redriven(transaction, CONSUMER, ids)
        assert list(await dead_letters.redrivable(CONSUMER, 10)) == []

    async def test_redriven_letter_that_fails_again_is_open_again(
        self, database: Database, dead_letters: DeadLetters, read: Reader, judge: Judge
    ) -> None:
        """That was its one try: it waits for the next verdict, and its topic is told."""
        letter = a_letter()
        await self._add(database, dead_letters, letter)
        await judge(CONSUMER, [letter.record.message.id], "REDRIVE")
        await self._add(database, dead_letters, letter)
        assert list(await dead_letters.redrivable(CONSUMER, 10)) == []
        assert len(await read(DEAD_LETTER_LANE, 0, 10)) == 2
        await judge(CONSUMER, [letter.record.message.id], "REDRIVE")
        assert list(await dead_letters.redrivable(CONSUMER, 10)) == [letter]

    async def test_discarded_letter_stays_discarded(
        self, database: Database, dead_letters: DeadLetters, read: Reader, judge: Judge
    ) -> None:
        """Protocol C5: a topic that is read again does not undo an operator's verdict."""
        letter = a_letter()
        await self._add(database, dead_letters, letter)
        await judge(CONSUMER, [letter.record.message.id], "DISCARDED")
        await self._add(database, dead_letters, letter)
        assert list(await dead_letters.redrivable(CONSUMER, 10)) == []
        assert len(await read(DEAD_LETTER_LANE, 0, 10)) == 1

    async def test_recent_counts_one_consumer_in_its_window(
        self, database: Database, dead_letters: DeadLetters
    ) -> None:
        """Protocol C10: the limit counts keys in the database, so a restart keeps it."""
        letters = [a_letter(key=f"key-{n}") for n in range(3)]
        await self._add(database, dead_letters, *letters, a_letter("billing"))
        assert await dead_letters.recent(CONSUMER, WINDOW_SECONDS) == 3
        assert await dead_letters.recent("billing", WINDOW_SECONDS) == 1
        assert await dead_letters.recent(CONSUMER, 0.0) == 0
        await self._add(database, dead_letters, a_letter(key="key-0"))
        assert await dead_letters.recent(CONSUMER, WINDOW_SECONDS) == 3

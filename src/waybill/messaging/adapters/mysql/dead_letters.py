"""Dead letters on MariaDB and MySQL: kept with every byte, in the transaction of their batch.

The row is the truth (protocol C5); the `.DLT` record made from it goes through the outbox.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING
from uuid import UUID

from waybill.messaging.adapters.mysql.literals import seconds
from waybill.messaging.adapters.mysql.parts import parts, row_bytes
from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.dead_letter_record import dead_letter_record
from waybill.messaging.core.dead_letter_row import ENVELOPE, to_dead_letter, values
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.identity import new_id as make_id
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.messaging.core.ports import Database, DeadLetter, Outbox, Row, Transaction

COLUMNS = ENVELOPE.replace(" key,", " `key`,")
"""`key` is a word of these servers' own."""

_LOCK = """
SELECT message_id, verdict, redrives FROM messaging_dead_letters
WHERE consumer = $1 AND message_id IN ($2) ORDER BY message_id FOR UPDATE
"""
_INSERT = f"INSERT INTO messaging_dead_letters (id, {COLUMNS}) VALUES $1"  # noqa: S608 - constants
# A verdict of an operator outlives repeats of the message; one to redrive has failed again.
# These servers assign from left to right: `redrives` needs the verdict as it was.
_AGAIN = """
UPDATE messaging_dead_letters AS d JOIN ($2) AS n ON n.message_id = d.message_id
SET d.error_type = n.error_type, d.error_message = n.error_message, d.stacktrace = n.stacktrace,
    d.redrives = d.redrives + (d.verdict = 'REDRIVE'),
    d.verdict = IF(d.verdict = 'REDRIVE', 'OPEN', d.verdict)
WHERE d.consumer = $1
"""
_REDRIVABLE = f"""
SELECT {COLUMNS} FROM messaging_dead_letters
WHERE consumer = $1 AND verdict = 'REDRIVE' ORDER BY created_at, id LIMIT $2
"""  # noqa: S608 - constants
_REDRIVEN = """
UPDATE messaging_dead_letters SET verdict = 'REDRIVEN', redrives = redrives + 1
WHERE consumer = $1 AND message_id IN ($2) AND verdict = 'REDRIVE'
"""
_RECENT = """
SELECT count(DISTINCT `key`) FROM messaging_dead_letters
WHERE consumer = $1 AND created_at > NOW(6) - INTERVAL $2 SECOND
"""

_MESSAGE_ID = attrgetter("record.message.id")
_ERROR = slice(-3, None)
"""Of `values`: error_type, error_message, stacktrace."""


class MysqlDeadLetters:
    """See core.ports.DeadLetters. Inside a unit it speaks to the Transaction port only."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        suffix: str = DEAD_LETTER_SUFFIX,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        new_id: Callable[[], UUID] = make_id,
    ) -> None:
        self._suffix = suffix
        self._database = database
        self._outbox = outbox
        self._message_bytes_max = message_bytes_max
        self._new_id = new_id

    async def add(self, transaction: Transaction, letters: Sequence[DeadLetter]) -> None:
        """See DeadLetters.add. A repeat of one that is open or has a verdict adds no record."""
        by_consumer: dict[str, dict[UUID, DeadLetter]] = {}
        for letter in letters:
            by_consumer.setdefault(letter.consumer, {})[letter.record.message.id] = letter
        for consumer, distinct in sorted(by_consumer.items()):
            await self._add(transaction, consumer, sorted(distinct.values(), key=_MESSAGE_ID))

    async def redrivable(self, consumer: str, limit: int) -> Sequence[DeadLetter]:
        """See DeadLetters.redrivable."""
        rows = await self._database.fetch(_REDRIVABLE, consumer, limit)
        return [to_dead_letter(row) for row in rows]

    async def redriven(
        self, transaction: Transaction, consumer: str, message_ids: Sequence[UUID]
    ) -> None:
        """See DeadLetters.redriven. Raises TransientError if a verdict changed meanwhile."""
        ids = sorted(set(message_ids))
        rows = await transaction.fetch(_LOCK, consumer, ids)
        if any(row["verdict"] != "REDRIVE" for row in rows):
            raise TransientError(f"an operator changed a verdict of {consumer}: look again")
        await transaction.execute(_REDRIVEN, consumer, ids)

    async def recent(self, consumer: str, window_seconds: float) -> int:
        """See DeadLetters.recent."""
        rows = await self._database.fetch(_RECENT, consumer, seconds(window_seconds))
        return int(rows[0][0])

    async def _add(
        self, transaction: Transaction, consumer: str, letters: Sequence[DeadLetter]
    ) -> None:
        ids = [letter.record.message.id for letter in letters]
        known = {UUID(bytes=row[0]): row for row in await transaction.fetch(_LOCK, consumer, ids)}
        new = [letter for letter in letters if letter.record.message.id not in known]
        for start, stop in parts([_row_bytes(letter) for letter in new]):
            rows = [(self._new_id(), *values(letter)) for letter in new[start:stop]]
            await transaction.execute(_INSERT, rows)
        again = [letter for letter in letters if letter.record.message.id in known]
        names = "message_id, error_type, error_message, stacktrace"
        for start, stop in parts([_error_bytes(letter) for letter in again]):
            part = again[start:stop]
            errors = [(each.record.message.id, *values(each)[_ERROR]) for each in part]
            await transaction.execute(_AGAIN, consumer, Table(names, errors))
        self._outbox.append(
            transaction,
            [
                dead_letter_record(
                    letter,
                    id_=self._new_id(),
                    redrives=redrives,
                    suffix=self._suffix,
                    message_bytes_max=self._message_bytes_max,
                )
                for letter in letters
                if (redrives := _told(known.get(letter.record.message.id))) is not None
            ],
        )


def _row_bytes(letter: DeadLetter) -> int:
    return row_bytes(letter.record.message) + _error_bytes(letter)


def _error_bytes(letter: DeadLetter) -> int:
    return 4 * (len(letter.error_type) + len(letter.error_message)) + len(letter.stacktrace)


def _told(known: Row | None) -> int | None:
    """How often it was redriven, if its topic is to be told; None for a repeat."""
    if known is None:
        return 0
    return int(known["redrives"]) + 1 if known["verdict"] == "REDRIVE" else None

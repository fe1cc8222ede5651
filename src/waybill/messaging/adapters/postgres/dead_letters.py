"""Dead letters on PostgreSQL: kept with every byte, in the transaction of the batch they left.

The row is the truth (protocol C5); the `.DLT` record made from it goes through the outbox.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from waybill.messaging.core.dead_letter_record import dead_letter_record
from waybill.messaging.core.dead_letter_row import ENVELOPE, to_dead_letter, values
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.identity import new_id as make_id
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, DeadLetter, Outbox, Transaction

_LOCK = """
SELECT message_id, verdict FROM messaging.dead_letters
WHERE consumer = $1 AND message_id = ANY($2::uuid[]) ORDER BY message_id FOR UPDATE
"""
# A verdict of an operator outlives repeats of the message; one to redrive has failed again.
_ADD = f"""
INSERT INTO messaging.dead_letters AS d (id, {ENVELOPE})
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::integer[], $7::bigint[],
    $8::text[], $9::bytea[], $10::text[], $11::integer[], $12::text[], $13::bigint[], $14::text[],
    $15::uuid[], $16::text[], $17::text[], $18::text[], $19::timestamptz[], $20::text[],
    $21::text[], $22::text[]
)
ON CONFLICT (consumer, message_id) DO UPDATE SET
    error_type = excluded.error_type, error_message = excluded.error_message,
    stacktrace = excluded.stacktrace,
    verdict = CASE WHEN d.verdict = 'REDRIVE' THEN 'OPEN' ELSE d.verdict END,
    redrives = d.redrives + (d.verdict = 'REDRIVE')::integer
RETURNING message_id, redrives
"""  # noqa: S608 - constants
_REDRIVABLE = f"""
SELECT {ENVELOPE} FROM messaging.dead_letters
WHERE consumer = $1 AND verdict = 'REDRIVE' ORDER BY created_at, id LIMIT $2
"""  # noqa: S608 - constants
_REDRIVEN = """
UPDATE messaging.dead_letters SET verdict = 'REDRIVEN', redrives = redrives + 1
WHERE consumer = $1 AND message_id = ANY($2::uuid[]) AND verdict = 'REDRIVE'
"""
_RECENT = """
SELECT count(DISTINCT key) FROM messaging.dead_letters
WHERE consumer = $1 AND created_at > clock_timestamp() - make_interval(secs => $2)
"""

_MESSAGE_ID = attrgetter("record.message.id")


class PostgresDeadLetters:
    """See core.ports.DeadLetters. Inside a unit it speaks to the Transaction port only."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        new_id: Callable[[], UUID] = make_id,
        suffix: str = DEAD_LETTER_SUFFIX,
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
        rows = await self._database.fetch(_RECENT, consumer, float(window_seconds))
        return int(rows[0][0])

    async def _add(
        self, transaction: Transaction, consumer: str, letters: Sequence[DeadLetter]
    ) -> None:
        ids = [letter.record.message.id for letter in letters]
        known = {row[0]: row[1] for row in await transaction.fetch(_LOCK, consumer, ids)}
        rows = await transaction.fetch(_ADD, [self._new_id() for _ in letters], *columns(letters))
        redrives = {row[0]: row[1] for row in rows}
        self._outbox.append(
            transaction,
            [
                dead_letter_record(
                    letter,
                    id_=self._new_id(),
                    redrives=redrives[letter.record.message.id],
                    message_bytes_max=self._message_bytes_max,
                    suffix=self._suffix,
                )
                for letter in letters
                if known.get(letter.record.message.id, "REDRIVE") == "REDRIVE"
            ],
        )


def columns(letters: Sequence[DeadLetter]) -> list[list[object]]:
    """One list a column of ENVELOPE."""
    return [list(column) for column in zip(*map(values, letters), strict=True)]

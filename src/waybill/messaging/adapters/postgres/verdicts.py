"""An operator's verdicts on dead letters and parked deliveries: each says who gave it and why."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.core.dead_letter_row import ENVELOPE, to_dead_letter
from waybill.messaging.core.ports import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.outcome import Delivered, Refused
    from waybill.messaging.core.ports import Database, Row

logger = logging.getLogger(__name__)

_FIELDS = f"{ENVELOPE}, id, verdict, verdict_by, verdict_reason, verdict_at, redrives, created_at"
_LIST_LETTERS = f"""
SELECT {_FIELDS} FROM messaging.dead_letters
WHERE ($1::text IS NULL OR consumer = $1) AND ($2::text IS NULL OR verdict = $2)
ORDER BY created_at, id LIMIT $3
"""  # noqa: S608 - constants
_SHOW_LETTER = f"""
SELECT {_FIELDS} FROM messaging.dead_letters WHERE message_id = $1 OR id = $1 ORDER BY consumer
"""  # noqa: S608 - constants
_LOCK_LETTERS = """
SELECT message_id, verdict,
       created_at < clock_timestamp() - make_interval(secs => $3) AS too_old
FROM messaging.dead_letters
WHERE consumer = $1 AND message_id = ANY($2::uuid[]) ORDER BY message_id FOR UPDATE
"""
_JUDGE_LETTERS = """
UPDATE messaging.dead_letters
SET verdict = $3, verdict_by = $4, verdict_reason = $5, verdict_at = clock_timestamp()
WHERE consumer = $1 AND message_id = ANY($2::uuid[])
"""
_PARKED = """
SELECT id, kind, key, attempts, reason, created_at, correlation_id, request,
       cancelled_at IS NOT NULL AS cancelled
FROM messaging.deliveries
WHERE state = 'PARKED' AND ($1::text IS NULL OR kind = $1)
ORDER BY kind, key LIMIT $2
"""
# The deliverer settles it, so that the handler says to the rest of the system what came of it.
_JUDGE_DELIVERY = """
UPDATE messaging.deliveries
SET state = 'PENDING', attempts = 0, ask_first = true, next_attempt_at = clock_timestamp(),
    verdict = $2, verdict_by = $3, verdict_reason = $4, verdict_at = clock_timestamp(),
    lease_token = NULL, lease_until = NULL
WHERE id = ANY($1::uuid[]) AND state = 'PARKED'
RETURNING id
"""

FOREVER_SECONDS = 1e9


class LetterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with what became of it."""

    id: UUID
    letter: DeadLetter
    verdict: str
    verdict_by: str | None
    verdict_reason: str | None
    verdict_at: datetime | None
    redrives: int
    created_at: datetime


class Judged(msgspec.Struct, frozen=True):
    """What a verdict on dead letters applied to, by message id."""

    done: tuple[UUID, ...]
    refused: dict[UUID, str]
    """Those that were left alone, with the reason."""


class ParkedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An outside call whose outcome an operator has to find out."""

    id: UUID
    kind: str
    key: str
    attempts: int
    reason: str | None
    cancelled: bool
    request: bytes
    correlation_id: str
    created_at: datetime


async def list_dead_letters(
    database: Database,
    *,
    consumer: str | None = None,
    verdict: str | None = "OPEN",
    limit: int = 100,
) -> list[LetterInfo]:
    """Dead letters, oldest first; of every verdict if it is None."""
    return [_letter(row) for row in await database.fetch(_LIST_LETTERS, consumer, verdict, limit)]


async def show_dead_letter(database: Database, message_id: UUID) -> list[LetterInfo]:
    """The letter of this message (or with this id of its own), one a consumer that failed."""
    return [_letter(row) for row in await database.fetch(_SHOW_LETTER, message_id)]


async def redrive_dead_letters(
    database: Database,
    consumer: str,
    message_ids: Sequence[UUID],
    *,
    who: str,
    why: str,
    inbox_retention_seconds: float,
) -> Judged:
    """Have the consumer apply these, as if they came now.

    Leaves alone what is older than the inbox keeps ids: nothing could tell a repeat any more.
    """
    return await _judge_letters(
        database, consumer, message_ids, "REDRIVE", who, why, inbox_retention_seconds
    )


async def discard_dead_letters(
    database: Database, consumer: str, message_ids: Sequence[UUID], *, who: str, why: str
) -> Judged:
    """Never apply these, not even when their topic is read again."""
    return await _judge_letters(
        database, consumer, message_ids, "DISCARDED", who, why, FOREVER_SECONDS
    )


async def list_parked_deliveries(
    database: Database, *, kind: str | None = None, limit: int = 100
) -> list[ParkedDelivery]:
    """Deliveries that wait for an operator."""
    rows = await database.fetch(_PARKED, kind, limit)
    return [
        ParkedDelivery(**{name: row[name] for name in ParkedDelivery.__struct_fields__})
        for row in rows
    ]


async def judge_parked_deliveries(
    database: Database,
    ids: Sequence[UUID],
    verdict: Delivered | Refused | None,
    *,
    who: str,
    why: str,
) -> set[UUID]:
    """Settle them so at the deliverer's next turn, or (None) ask and try again; those judged."""
    _check_reasons(who, why)
    encoded = None if verdict is None else msgspec.json.encode(verdict)
    rows = await database.fetch(_JUDGE_DELIVERY, sorted(set(ids)), encoded, who, why)
    judged = {row[0] for row in rows}
    word = "RETRY" if verdict is None else type(verdict).__name__.upper()
    for id_ in sorted(judged):
        logger.warning("verdict %s on delivery %s by %s: %s", word, id_, who, why)
    return judged


async def _judge_letters(  # noqa: PLR0917 - private, one place calls it by position twice
    database: Database,
    consumer: str,
    message_ids: Sequence[UUID],
    verdict: str,
    who: str,
    why: str,
    age_seconds_max: float,
) -> Judged:
    _check_reasons(who, why)
    wanted = sorted(set(message_ids))
    async with database.transaction() as transaction:
        rows = await transaction.fetch(_LOCK_LETTERS, consumer, wanted, float(age_seconds_max))
        refused = dict.fromkeys(wanted, f"{consumer} has no such dead letter")
        done = []
        for row in rows:
            reason = _refusal(row["verdict"], too_old=row["too_old"])
            if reason is None:
                refused.pop(row["message_id"])
                done.append(row["message_id"])
            else:
                refused[row["message_id"]] = reason
        await transaction.execute(_JUDGE_LETTERS, consumer, done, verdict, who, why)
    for message_id in done:
        logger.warning("verdict %s on dead letter %s by %s: %s", verdict, message_id, who, why)
    return Judged(tuple(done), refused)


def _refusal(verdict: str, *, too_old: bool) -> str | None:
    if verdict in {"REDRIVEN", "DISCARDED"}:
        return f"it is {verdict} already"
    if too_old:
        return "it is older than the inbox keeps ids, so a repeat could not be told: discard it"
    return None


def _check_reasons(who: str, why: str) -> None:
    if not who.strip() or not why.strip():
        raise ValueError("a verdict needs who gives it and why")


def _letter(row: Row) -> LetterInfo:
    return LetterInfo(
        id=row["id"],
        letter=to_dead_letter(row),
        verdict=row["verdict"],
        verdict_by=row["verdict_by"],
        verdict_reason=row["verdict_reason"],
        verdict_at=row["verdict_at"],
        redrives=row["redrives"],
        created_at=row["created_at"],
    )

"""An operator's verdicts on PostgreSQL: see core.verdicts."""

from __future__ import annotations

from waybill.messaging.core.dead_letter_row import ENVELOPE
from waybill.messaging.core.verdicts import (
    Judged,
    LetterInfo,
    ParkedDelivery,
    Statements,
    Verdicts,
)

__all__ = [
    "Judged",
    "LetterInfo",
    "ParkedDelivery",
    "discard_dead_letters",
    "judge_parked_deliveries",
    "list_dead_letters",
    "list_parked_deliveries",
    "redrive_dead_letters",
    "show_dead_letter",
]

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
       created_at < clock_timestamp() - make_interval(secs => $3::float8) AS too_old
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
_LOCK_PARKED = """
SELECT id FROM messaging.deliveries
WHERE id = ANY($1::uuid[]) AND state = 'PARKED' ORDER BY id FOR UPDATE
"""
_JUDGE_DELIVERIES = """
UPDATE messaging.deliveries
SET state = 'PENDING', attempts = 0, ask_first = true, next_attempt_at = clock_timestamp(),
    verdict = $2, verdict_by = $3, verdict_reason = $4, verdict_at = clock_timestamp(),
    lease_token = NULL, lease_until = NULL
WHERE id = ANY($1::uuid[])
"""

VERDICTS = Verdicts(
    Statements(
        list_letters=_LIST_LETTERS,
        show_letter=_SHOW_LETTER,
        lock_letters=_LOCK_LETTERS,
        judge_letters=_JUDGE_LETTERS,
        list_parked=_PARKED,
        lock_parked=_LOCK_PARKED,
        judge_deliveries=_JUDGE_DELIVERIES,
    )
)
list_dead_letters = VERDICTS.list_dead_letters
show_dead_letter = VERDICTS.show_dead_letter
redrive_dead_letters = VERDICTS.redrive_dead_letters
discard_dead_letters = VERDICTS.discard_dead_letters
list_parked_deliveries = VERDICTS.list_parked_deliveries
judge_parked_deliveries = VERDICTS.judge_parked_deliveries

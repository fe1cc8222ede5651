"""An operator's verdicts on MariaDB and MySQL: see core.verdicts."""

from __future__ import annotations

from waybill.messaging.adapters.mysql.dead_letters import COLUMNS
from waybill.messaging.core.verdicts import Statements, Verdicts

_FIELDS = f"{COLUMNS}, id, verdict, verdict_by, verdict_reason, verdict_at, redrives, created_at"
_LIST_LETTERS = f"""
SELECT {_FIELDS} FROM messaging_dead_letters
WHERE ($1 IS NULL OR consumer = $1) AND ($2 IS NULL OR verdict = $2)
ORDER BY created_at, id LIMIT $3
"""  # noqa: S608 - constants
_SHOW_LETTER = f"""
SELECT {_FIELDS} FROM messaging_dead_letters WHERE message_id = $1 OR id = $1 ORDER BY consumer
"""  # noqa: S608 - constants
_LOCK_LETTERS = """
SELECT message_id, verdict, created_at < NOW(6) - INTERVAL $3 SECOND AS too_old
FROM messaging_dead_letters
WHERE consumer = $1 AND message_id IN ($2) ORDER BY message_id FOR UPDATE
"""
_JUDGE_LETTERS = """
UPDATE messaging_dead_letters
SET verdict = $3, verdict_by = $4, verdict_reason = $5, verdict_at = NOW(6)
WHERE consumer = $1 AND message_id IN ($2)
"""
_PARKED = """
SELECT id, kind, `key`, attempts, reason, created_at, correlation_id, request,
       cancelled_at IS NOT NULL AS cancelled
FROM messaging_deliveries
WHERE state = 'PARKED' AND ($1 IS NULL OR kind = $1) ORDER BY kind, `key` LIMIT $2
"""
_LOCK_PARKED = """
SELECT id FROM messaging_deliveries WHERE id IN ($1) AND state = 'PARKED' ORDER BY id FOR UPDATE
"""
# The deliverer settles it, so that the handler says to the rest of the system what came of it.
_JUDGE_DELIVERIES = """
UPDATE messaging_deliveries
SET state = 'PENDING', attempts = 0, ask_first = true, next_attempt_at = NOW(6),
    verdict = $2, verdict_by = $3, verdict_reason = $4, verdict_at = NOW(6),
    lease_token = NULL, lease_until = NULL
WHERE id IN ($1)
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

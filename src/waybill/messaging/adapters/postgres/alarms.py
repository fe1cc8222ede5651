"""What fills a database slowly and unseen: readers that fell silent, transactions that stay open.

A silent reader holds back the outbox's retention (protocol D4); an old transaction, a prepared
one or a replication slot holds back vacuum, and may hold locks (protocol E4).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from waybill.messaging.core.consumers import SILENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row

TRANSACTION_SECONDS_MAX = 300.0
"""Longer than any unit or dump of ours."""
XMIN_TRANSACTIONS_MAX = 10_000_000
"""So many transactions behind, dead rows of busy tables cost more than they should."""

# A role sees what its own sessions do; with pg_read_all_stats it sees all of them.
_LOOK = """
SELECT format('%s was silent for more than a day and holds back the retention of the outbox: '
              'start it, or waybill consumers forget %s', consumer, consumer) AS alarm
FROM messaging.outbox_reader WHERE seen_at < clock_timestamp() - make_interval(secs => $1)
UNION ALL
SELECT format('a transaction of process %s (%s) is open for more than %s s', pid,
              coalesce(nullif(application_name, ''), usename), $2::float8)
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
  AND pid <> pg_backend_pid()
  AND xact_start < clock_timestamp() - make_interval(secs => $2)
UNION ALL
SELECT format('a prepared transaction (%s) waits: two-phase commit is not for messaging', gid)
FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT format('%s keeps rows that more than %s transactions have outlived', holder, $3::bigint)
FROM (
    SELECT 'process ' || pid AS holder, backend_xmin AS xmin FROM pg_stat_activity
    UNION ALL SELECT 'replication slot ' || slot_name, xmin FROM pg_replication_slots
) AS held WHERE age(xmin) > $3::bigint
ORDER BY alarm
"""

logger = logging.getLogger(__name__)


class Fetching(Protocol):
    """A connection of asyncpg, or a Database."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""


class Alarms:
    """Tells each alarm once when it comes, and once when it has gone."""

    def __init__(self, transaction_seconds_max: float = TRANSACTION_SECONDS_MAX) -> None:
        self._transaction_seconds_max = transaction_seconds_max
        self._told: frozenset[str] = frozenset()

    async def look(self, connection: Fetching) -> tuple[str, ...]:
        """What is alarming now; the same sentence for as long as it lasts."""
        rows = await connection.fetch(
            _LOOK, float(SILENT_SECONDS), self._transaction_seconds_max, XMIN_TRANSACTIONS_MAX
        )
        found = tuple(str(row[0]) for row in rows)
        for alarm in found:
            if alarm not in self._told:
                logger.warning("%s", alarm)
        for alarm in sorted(self._told.difference(found)):
            logger.info("no longer: %s", alarm)
        self._told = frozenset(found)
        return found

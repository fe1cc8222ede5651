"""What holds back vacuum on the whole server, whoever does it (protocol E4).

Asked as a role that has pg_read_all_stats: another one sees the transactions of its own sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row

_LOOK = """
SELECT
    coalesce((SELECT extract(epoch FROM clock_timestamp() - min(xact_start))
              FROM pg_stat_activity
              WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), 0)::float8
        AS oldest_transaction_seconds,
    coalesce((SELECT max(age(xmin)) FROM (
        SELECT backend_xmin AS xmin FROM pg_stat_activity WHERE pid <> pg_backend_pid()
        UNION ALL SELECT xmin FROM pg_replication_slots
        UNION ALL SELECT catalog_xmin FROM pg_replication_slots
        UNION ALL SELECT transaction FROM pg_prepared_xacts
    ) AS held), 0) AS oldest_xmin_transactions,
    (SELECT count(*) FROM pg_prepared_xacts) AS prepared_transactions
"""


class Fetching(Protocol):
    """A connection of asyncpg, or a Database."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""


class InstanceFigures(msgspec.Struct, frozen=True):
    """One look at a server: its oldest transaction, the rows that it keeps, what is prepared."""

    oldest_transaction_seconds: float
    oldest_xmin_transactions: int
    prepared_transactions: int


async def look(connection: Fetching) -> InstanceFigures:
    """One reading statement over all databases of the server."""
    (row,) = await connection.fetch(_LOOK)
    return InstanceFigures(max(0.0, row[0]), row[1], row[2])

"""The end of an outbox's rows on MariaDB and MySQL (protocol O6, D5).

A row goes when its retention is over and whoever the outbox serves has passed it. The horizon is
recorded before the first row goes, so that nobody begins among rows that are being deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.arrays import numbers
from waybill.messaging.adapters.mysql.literals import seconds
from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from waybill.messaging.core.ports import Database, Transaction

PAGE_ROWS = 2_000

# Registering takes the same row: a reader begins before the horizon moved, or after it (O6).
_META = "SELECT mode, horizon FROM messaging_outbox_meta FOR UPDATE"
_CUTOFF = "SELECT coalesce($1, NOW(6)) - INTERVAL $2 SECOND, max(seq) FROM messaging_outbox"
# Numbers are not quite in the order of times: a younger row with a lower number holds all behind.
_FIRST_YOUNG = "SELECT min(seq) FROM messaging_outbox WHERE created_at >= $1"
_FIRST_UNREAD = """
SELECT min((
    SELECT o.seq FROM messaging_outbox AS o
    WHERE o.lane = p.lane AND o.seq > p.position ORDER BY o.seq LIMIT 1
)) FROM ($1) AS p
"""
_READERS = "SELECT positions FROM messaging_outbox_reader"
_RELAY = "SELECT position FROM messaging_outbox_lane ORDER BY lane"
_MOVE = "UPDATE messaging_outbox_meta SET horizon = $1, horizon_at = $2"
_DELETE = "DELETE FROM messaging_outbox WHERE lane = $1 AND seq < $2 ORDER BY seq LIMIT $3"


async def purge_outbox(
    database: Database,
    older_than_seconds: float,
    *,
    now: datetime | None = None,
    page_rows: int = PAGE_ROWS,
) -> int:
    """Delete what is over and passed, a page a transaction; how many rows. May be repeated.

    Nobody ever read or relayed it: its retention alone decides. `now` is what ages count from; not
    given, it is the database's clock. Run it as a role that may DELETE, in one process at a time.
    """
    async with database.transaction() as transaction:
        (meta,) = await transaction.fetch(_META)
        (found,) = await transaction.fetch(_CUTOFF, now, seconds(older_than_seconds))
        cutoff, last = found[0], found[1]
        bounds = [(await transaction.fetch(_FIRST_YOUNG, cutoff))[0][0]]
        for positions in await _passed(transaction, meta["mode"]):
            lanes = Table("lane, position", enumerate(positions))
            bounds.append((await transaction.fetch(_FIRST_UNREAD, lanes))[0][0])
        horizon = min([(last or 0) + 1, *(bound for bound in bounds if bound is not None)])
        horizon = max(horizon, meta["horizon"])
        if horizon > meta["horizon"]:
            await transaction.execute(_MOVE, horizon, cutoff)
    return await _delete(database, horizon, page_rows)


async def _passed(transaction: Transaction, mode: str) -> Sequence[Sequence[int]]:
    """How far those are whom the outbox serves."""
    if mode == "direct":
        return [numbers(row[0]) for row in await transaction.fetch(_READERS)]
    return [[row[0] for row in await transaction.fetch(_RELAY)]]


async def _delete(database: Database, horizon: int, page_rows: int) -> int:
    total = 0
    for lane in range(ALL_LANES):
        deleted = page_rows
        while deleted == page_rows:
            async with database.transaction() as transaction:
                deleted = await transaction.execute(_DELETE, lane, horizon, page_rows)
            total += deleted
    return total

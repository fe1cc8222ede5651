"""How many messages of an outbox wait for their first reader (protocol I5).

A reader that only lags holds retention back and is alarmed (D4); it must not close the intake.
So a row counts while no registered reader has passed it. Without any reader nothing waits. In
relay mode the relay is the reader; what it holds it has passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

# The planner may see an empty table and keep that plan: only the index (lane, seq) is right.
INDEX_ONLY = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
"""
_PASSED = """
WITH passed AS (
    SELECT lane, max(reader.positions[lane + 1]) AS position
    FROM messaging.outbox_meta AS meta, messaging.outbox_reader AS reader,
         generate_series(0, 16) AS lane
    WHERE meta.mode = 'direct' GROUP BY lane
    UNION ALL
    SELECT sent.lane, sent.position
    FROM messaging.outbox_meta AS meta, messaging.outbox_lane AS sent
    WHERE meta.mode <> 'direct'
)
"""
# One probe a lane. All that is unread lies between the first of these rows and the last number.
BOUND = f"""{_PASSED}
SELECT coalesce((SELECT last_value FROM messaging.outbox_seq) - min(first.seq) + 1, 0)
FROM passed CROSS JOIN LATERAL (
    SELECT seq FROM messaging.outbox AS row
    WHERE row.lane = passed.lane AND row.seq > passed.position ORDER BY seq LIMIT 1
) AS first
"""  # noqa: S608 - constants
COUNT = f"""{_PASSED}
SELECT count(*) FROM (
    SELECT FROM passed CROSS JOIN LATERAL (
        SELECT FROM messaging.outbox AS row
        WHERE row.lane = passed.lane AND row.seq > passed.position LIMIT $1
    ) AS unread LIMIT $1
) AS counted
"""  # noqa: S608 - constants


async def unread_rows(database: Database, *, count_max: int) -> int:
    """Rows that no reader has passed yet: at most so many, and exactly if it is `count_max`.

    Costs one look into the index a lane, unless there may really be so many; then it counts,
    no further than `count_max`.
    """
    async with database.transaction() as transaction:
        await transaction.fetch(INDEX_ONLY)
        bound = int((await transaction.fetch(BOUND))[0][0])
        if bound < count_max:
            return bound
        return int((await transaction.fetch(COUNT, count_max))[0][0])

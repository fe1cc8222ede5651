"""What a service's messaging looks like from outside: backlog, lag, what waits for an operator.

Cheap enough for every few seconds: counting stops at COUNT_MAX rows a lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.partitions import spare_partitions
from waybill.messaging.core.figures import Figures, Waiting

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

COUNT_MAX = 10_000

_LAG = f"""
SELECT r.consumer, t.topic, p.place - 1 AS lane, unread.rows,
       coalesce(extract(epoch FROM clock_timestamp() - unread.oldest), 0)::float8 AS seconds
FROM messaging.outbox_reader AS r
CROSS JOIN LATERAL unnest(r.topics) AS t (topic)
CROSS JOIN LATERAL unnest(r.positions) WITH ORDINALITY AS p (position, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, min(created_at) AS oldest FROM (
        SELECT o.created_at FROM messaging.outbox AS o
        WHERE o.lane = p.place - 1 AND o.seq > p.position AND o.topic = t.topic
        ORDER BY o.seq LIMIT {COUNT_MAX}
    ) AS counted
) AS unread
"""  # noqa: S608 - a constant
_PENDING = f"""
WITH slowest AS (
    SELECT p.place - 1 AS lane, min(p.position) AS position
    FROM messaging.outbox_reader AS r
    CROSS JOIN LATERAL unnest(r.positions) WITH ORDINALITY AS p (position, place)
    GROUP BY p.place
)
SELECT count(waiting.created_at),
       coalesce(extract(epoch FROM clock_timestamp() - min(waiting.created_at)), 0)::float8
FROM slowest AS s
CROSS JOIN LATERAL (
    SELECT o.created_at FROM messaging.outbox AS o
    WHERE o.lane = s.lane AND o.seq > s.position AND EXISTS (
        SELECT FROM messaging.outbox_reader AS r
        WHERE o.topic = ANY(r.topics) AND r.positions[o.lane + 1] < o.seq
    )
    ORDER BY o.seq LIMIT {COUNT_MAX}
) AS waiting
"""  # noqa: S608 - a constant
_MODE = "SELECT mode FROM messaging.outbox_meta"
_SEEN = """
SELECT consumer, extract(epoch FROM clock_timestamp() - seen_at)::float8
FROM messaging.outbox_reader
"""
_LETTERS = """
SELECT consumer, count(*) FROM messaging.dead_letters WHERE verdict = 'OPEN' GROUP BY consumer
"""
_DELIVERIES = """
SELECT kind, state, count(*), count(*) FILTER (WHERE ask_first),
       extract(epoch FROM clock_timestamp() - min(created_at))::float8
FROM messaging.deliveries
WHERE state = 'PENDING' OR state = 'PARKED' GROUP BY kind, state
"""


async def look(database: Database) -> Figures:
    """A few reading statements, as the service role; not of one instant. Raises TransientError."""
    (meta,) = await database.fetch(_MODE)
    lag = await database.fetch(_LAG)
    ((pending, oldest),) = [(row[0], row[1]) for row in await database.fetch(_PENDING)]
    seen = await database.fetch(_SEEN)
    letters = await database.fetch(_LETTERS)
    deliveries = await database.fetch(_DELIVERIES)
    return Figures(
        mode=meta[0],
        lag={(row[0], row[1], row[2]): row[3] for row in lag},
        lag_seconds={(row[0], row[1], row[2]): max(0.0, row[4]) for row in lag},
        outbox_pending=pending,
        outbox_oldest_pending_seconds=max(0.0, oldest),
        spare_partitions=await spare_partitions(database),
        silent_seconds={row[0]: max(0.0, row[1]) for row in seen},
        dead_letters_open={row[0]: row[1] for row in letters},
        deliveries={
            (row[0], row[1]): Waiting(row[2], row[3], max(0.0, row[4])) for row in deliveries
        },
    )

"""What a service's messaging looks like from outside: backlog, lag, what waits for an operator.

Cheap enough for every few seconds: counting stops at COUNT_MAX rows a lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

COUNT_MAX = 10_000

_LAG = f"""
SELECT r.consumer, t.topic, p.place - 1 AS lane, unread.rows
FROM messaging.outbox_reader AS r
CROSS JOIN LATERAL unnest(r.topics) AS t (topic)
CROSS JOIN LATERAL unnest(r.positions) WITH ORDINALITY AS p (position, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM (
        SELECT FROM messaging.outbox AS o
        WHERE o.lane = p.place - 1 AND o.seq > p.position AND o.topic = t.topic
        LIMIT {COUNT_MAX}
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
_LETTERS = """
SELECT consumer, count(*) FROM messaging.dead_letters WHERE verdict = 'OPEN' GROUP BY consumer
"""
_DELIVERIES = """
SELECT kind, state, count(*) FROM messaging.deliveries
WHERE state = 'PENDING' OR state = 'PARKED' GROUP BY kind, state
"""


class Figures(msgspec.Struct, frozen=True):
    """One look at one service's database.

    `lag` by (consumer, topic, lane) of this service's own outbox, as its readers last reported;
    `dead_letters_open` by consumer, `deliveries_waiting` by (kind, state).
    """

    lag: dict[tuple[str, str, int], int]
    outbox_pending: int
    outbox_oldest_pending_seconds: float
    dead_letters_open: dict[str, int]
    deliveries_waiting: dict[tuple[str, str], int]


async def look(database: Database) -> Figures:
    """Four reading statements, as the service role; not of one instant. Raises TransientError."""
    lag = await database.fetch(_LAG)
    ((pending, oldest),) = [(row[0], row[1]) for row in await database.fetch(_PENDING)]
    letters = await database.fetch(_LETTERS)
    deliveries = await database.fetch(_DELIVERIES)
    return Figures(
        lag={(row[0], row[1], row[2]): row[3] for row in lag},
        outbox_pending=pending,
        outbox_oldest_pending_seconds=max(0.0, oldest),
        dead_letters_open={row[0]: row[1] for row in letters},
        deliveries_waiting={(row[0], row[1]): row[2] for row in deliveries},
    )

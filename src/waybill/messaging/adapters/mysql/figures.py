"""What a service's messaging looks like from outside, on MariaDB and MySQL.

Cheap enough for every few seconds: counting stops SPAN_MAX numbers above a position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.arrays import numbers, texts
from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.figures import Figures, Waiting
from waybill.messaging.core.relay_status import LaneStatus, RelayStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database, Row

SPAN_MAX = 100_000

_MODE = "SELECT mode, log, boundary IS NOT NULL AS is_drained FROM messaging_outbox_meta"
_READERS = """
SELECT consumer, topics, positions,
       timestampdiff(MICROSECOND, seen_at, NOW(6)) / 1000000e0 AS silent
FROM messaging_outbox_reader
"""
_UNREAD = """
SELECT o.topic, o.lane, count(*) AS waiting,
       timestampdiff(MICROSECOND, min(o.created_at), NOW(6)) / 1000000e0 AS seconds
FROM ($1) AS p STRAIGHT_JOIN messaging_outbox AS o
    ON o.lane = p.lane AND o.seq > p.position AND o.seq <= p.position + $3
WHERE o.topic IN ($2) GROUP BY o.topic, o.lane
"""
_LETTERS = """
SELECT consumer, count(*) FROM messaging_dead_letters WHERE verdict = 'OPEN' GROUP BY consumer
"""
_DELIVERIES = """
SELECT kind, state, count(*), cast(sum(ask_first) AS signed),
       timestampdiff(MICROSECOND, min(created_at), NOW(6)) / 1000000e0
FROM messaging_deliveries WHERE state IN ('PENDING', 'PARKED') GROUP BY kind, state
"""
_LANES = """
SELECT l.lane, l.position, l.moved_at, r.name AS owner,
       coalesce((SELECT max(o.seq) FROM messaging_outbox AS o WHERE o.lane = l.lane), 0) AS last,
       (SELECT count(*) FROM messaging_outbox AS o
        WHERE o.lane = l.lane AND o.seq > l.position AND o.seq <= l.position + $1) AS unsent,
       (SELECT timestampdiff(MICROSECOND, min(o.created_at), NOW(6)) / 1000000e0
        FROM messaging_outbox AS o
        WHERE o.lane = l.lane AND o.seq > l.position AND o.seq <= l.position + $1) AS seconds,
       (SELECT count(*) FROM messaging_outbox_held AS h
        WHERE h.lane = l.lane AND h.state <> 'SKIPPED') AS held
FROM messaging_outbox_lane AS l
LEFT JOIN messaging_outbox_relay AS r ON r.token = l.token AND l.lease_until > NOW(6)
ORDER BY l.lane
"""


async def look(database: Database) -> Figures:
    """A few reading statements, as the service role; not of one instant. Raises TransientError."""
    (meta,) = await database.fetch(_MODE)
    readers = await database.fetch(_READERS)
    lag: dict[tuple[str, str, int], int] = {}
    lag_seconds: dict[tuple[str, str, int], float] = {}
    for reader in readers:
        positions, topics = numbers(reader["positions"]), texts(reader["topics"])
        lanes, name = range(len(positions)), reader["consumer"]
        places = [(name, topic, lane) for topic in topics for lane in lanes]
        lag |= dict.fromkeys(places, 0)
        lag_seconds |= dict.fromkeys(places, 0.0)
        for row in await _unread(database, positions, topics):
            place = name, row["topic"], row["lane"]
            lag[place] = row["waiting"]
            lag_seconds[place] = max(0.0, float(row["seconds"]))
    letters = await database.fetch(_LETTERS)
    deliveries = await database.fetch(_DELIVERIES)
    return Figures(
        mode=meta["mode"],
        lag=lag,
        lag_seconds=lag_seconds,
        outbox_pending=_pending(lag),
        outbox_oldest_pending_seconds=max(lag_seconds.values(), default=0.0),
        spare_partitions=None,
        silent_seconds={row["consumer"]: max(0.0, float(row["silent"])) for row in readers},
        dead_letters_open={row[0]: row[1] for row in letters},
        deliveries={
            (row[0], row[1]): Waiting(row[2], int(row[3]), max(0.0, float(row[4])))
            for row in deliveries
        },
    )


async def look_at_relay(database: Database) -> RelayStatus:
    """Two reading statements, as the service role. Raises TransientError."""
    (meta,) = await database.fetch(_MODE)
    return RelayStatus(
        mode=meta["mode"],
        log=meta["log"],
        is_drained=bool(meta["is_drained"]),
        lanes=tuple(_lane(row) for row in await database.fetch(_LANES, SPAN_MAX)),
    )


def _lane(row: Row) -> LaneStatus:
    return LaneStatus(
        lane=row["lane"],
        position=row["position"],
        last_seq=row["last"],
        lag=row["unsent"],
        oldest_unsent_seconds=max(0.0, float(row["seconds"] or 0.0)),
        held=row["held"],
        owner=row["owner"],
        moved_at=row["moved_at"],
    )


async def _unread(
    database: Database, positions: Sequence[int], topics: Sequence[str]
) -> Sequence[Row]:
    lanes = Table("lane, position", enumerate(positions))
    return await database.fetch(_UNREAD, lanes, list(topics), SPAN_MAX)


def _pending(lag: dict[tuple[str, str, int], int]) -> int:
    """Rows that some reader of their topic has not read: those of the slowest one."""
    slowest: dict[tuple[str, int], int] = {}
    for (_, topic, lane), count in lag.items():
        slowest[topic, lane] = max(count, slowest.get((topic, lane), 0))
    return sum(slowest.values())

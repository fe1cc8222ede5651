"""How a relay is doing: what is unsent and since when, what is held, who owns which lane.

Cheap enough for every few seconds: counting stops at COUNT_MAX rows a lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.relay_status import LaneStatus, RelayStatus

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

COUNT_MAX = 100_000

_META = "SELECT mode, log, boundary IS NOT NULL AS is_drained FROM messaging.outbox_meta"
_LANES = f"""
SELECT l.lane, l.position, l.moved_at, coalesce(last.seq, 0) AS last_seq, unsent.rows,
       coalesce(extract(epoch FROM clock_timestamp() - unsent.oldest), 0)::float8 AS seconds,
       r.name AS owner,
       (SELECT count(*) FROM messaging.outbox_held AS h
        WHERE h.lane = l.lane AND h.state <> 'SKIPPED') AS held
FROM messaging.outbox_lane AS l
LEFT JOIN messaging.outbox_relay AS r
    ON r.token = l.token AND l.lease_until > clock_timestamp()
LEFT JOIN LATERAL (
    SELECT o.seq FROM messaging.outbox AS o WHERE o.lane = l.lane ORDER BY o.seq DESC LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, min(created_at) AS oldest FROM (
        SELECT o.created_at FROM messaging.outbox AS o
        WHERE o.lane = l.lane AND o.seq > l.position ORDER BY o.seq LIMIT {COUNT_MAX}
    ) AS counted
) AS unsent
ORDER BY l.lane
"""  # noqa: S608 - a constant


async def look(database: Database) -> RelayStatus:
    """Two reading statements, as the service role. Raises TransientError."""
    (meta,) = await database.fetch(_META)
    lanes = [
        LaneStatus(
            lane=row["lane"],
            position=row["position"],
            last_seq=row["last_seq"],
            lag=row["rows"],
            oldest_unsent_seconds=max(0.0, row["seconds"]),
            held=row["held"],
            owner=row["owner"],
            moved_at=row["moved_at"],
        )
        for row in await database.fetch(_LANES)
    ]
    return RelayStatus(
        mode=meta["mode"], log=meta["log"], is_drained=meta["is_drained"], lanes=tuple(lanes)
    )

"""How a relay is doing: what is unsent and since when, what is held, who owns which lane.

Cheap enough for every few seconds: counting stops at COUNT_MAX rows a lane.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

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


class LaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One lane. `lag` counts rows above the position; `owner` is None while nobody holds it."""

    lane: int
    position: int
    last_seq: int
    lag: int
    oldest_unsent_seconds: float
    held: int
    owner: str | None
    moved_at: datetime


class RelayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One outbox. In direct mode the lanes say nothing."""

    mode: str
    log: str | None
    is_drained: bool
    lanes: tuple[LaneStatus, ...]

    @property
    def lag(self) -> int:
        """Rows that the log does not have and that are not held."""
        return sum(lane.lag for lane in self.lanes)

    @property
    def oldest_unsent_seconds(self) -> float:
        """Age of the oldest of them; 0 if there is none."""
        return max((lane.oldest_unsent_seconds for lane in self.lanes), default=0.0)

    @property
    def held(self) -> int:
        """Records that wait for an operator, or behind one that does."""
        return sum(lane.held for lane in self.lanes)

    @property
    def owners(self) -> tuple[str, ...]:
        """The instances that own lanes."""
        return tuple(sorted({lane.owner for lane in self.lanes if lane.owner is not None}))


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

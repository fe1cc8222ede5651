"""An outbox that a relay carries to a log: what is not sent yet, and what nobody has taken yet.

Consumers of a log keep offsets there, which say nothing about the outbox. What they took is in
their inboxes, so the audit asks those. Held records wait for an operator and count as neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from waybill.messaging.core.ports import Row
    from waybill.operations.audit.scope import Route, Scope
    from waybill.operations.audit.snapshot import Reading

PAGE_ROWS = 1_000
UNSENT_MAX = 10_000
"""Rows of a lane are counted no further than this."""

_MODE = "SELECT mode FROM messaging.outbox_meta"
_LANES = "SELECT lane, position FROM messaging.outbox_lane ORDER BY lane"
_UNSENT = f"""
SELECT coalesce(sum(unsent.rows), 0)::bigint AS rows
FROM messaging.outbox_lane AS l CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM (
        SELECT FROM messaging.outbox AS o WHERE o.lane = l.lane AND o.seq > l.position
        LIMIT {UNSENT_MAX}
    ) AS counted
) AS unsent
"""  # noqa: S608 - a constant
_HELD = "SELECT aggregateid AS key FROM messaging.outbox_held WHERE state <> 'SKIPPED' LIMIT $1"

NOT_HELD = """NOT EXISTS (
    SELECT FROM messaging.outbox_held AS h WHERE h.lane = o.lane AND h.seq = o.seq
)"""
_ABOVE = f"""
SELECT o.id, o.lane, o.seq
FROM unnest($1::bigint[]) WITH ORDINALITY AS p (position, place)
CROSS JOIN LATERAL (
    SELECT id, lane, seq FROM messaging.outbox AS o
    WHERE o.lane = p.place - 1 AND o.seq > p.position AND o.topic = $2
      AND o.type = ANY ($3::text[]) AND {NOT_HELD}
    ORDER BY o.seq LIMIT $4
) AS o
ORDER BY o.seq LIMIT $4
"""  # noqa: S608 - constants
DEALT_WITH = """
SELECT message_id FROM messaging.inbox WHERE consumer = $1 AND message_id = ANY ($2::uuid[])
UNION ALL
SELECT message_id FROM messaging.dead_letters
WHERE consumer = $1 AND message_id = ANY ($2::uuid[])
"""


async def is_relayed(reading: Reading) -> bool:
    """Whether a relay (or a connector) carries this outbox, and nobody reads it directly."""
    (row,) = await reading.fetch(_MODE)
    return bool(row["mode"] != "direct")


async def sent(reading: Reading) -> list[int]:
    """How far each lane is sent."""
    positions = [0] * ALL_LANES
    for row in await reading.fetch(_LANES):
        positions[row["lane"]] = row["position"]
    return positions


async def unsent(reading: Reading) -> int:
    """How many records the log does not have yet."""
    (row,) = await reading.fetch(_UNSENT)
    return int(row["rows"])


async def held_keys(reading: Reading, limit: int) -> Sequence[Row]:
    """The keys of records that the log refused, and of those that wait behind them."""
    return await reading.fetch(_HELD, limit)


class Taken:
    """How far each consumer has taken every message of each outbox; it only moves on.

    A first look goes through all that is kept, later ones through what is new.
    """

    def __init__(self) -> None:
        self._places: dict[Route, list[int]] = {}

    async def unread(self, scope: Scope, readings: Mapping[str, Reading], route: Route) -> int:
        """Messages of the next page that this route's consumer has not taken; 0: none at all."""
        place = self._places.setdefault(route, [0] * ALL_LANES)
        consumer = scope.consumer_id(route.consumer)
        while True:
            rows = await readings[route.source].fetch(
                _ABOVE, place, route.topic, list(route.types), PAGE_ROWS
            )
            ids = [row["id"] for row in rows]
            taken = {
                row["message_id"]
                for row in await readings[route.consumer].fetch(DEALT_WITH, consumer, ids)
            }
            behind = [row for row in rows if row["id"] not in taken]
            stopped = {row["lane"] for row in behind}
            for row in rows:
                if row["lane"] not in stopped:
                    place[row["lane"]] = row["seq"]
            if behind or len(rows) < PAGE_ROWS:
                return len(behind)

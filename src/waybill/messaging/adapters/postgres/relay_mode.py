"""Which way an outbox goes, and since when: its mode, its log, its server (protocol L1, L6).

A change of mode is refused until `waybill drain` has written the boundary: how far every reader of
the old way was. The new way starts there, so that nothing is lost; inboxes remove what both read.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.relay_held import count
from waybill.messaging.adapters.postgres.server import read_server
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.relay_start import (
    Drained,
    feeds_a_log,
    in_cdc,
    other_log,
    starting_points,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.adapters.postgres.server import Server
    from waybill.messaging.core.ports import Database, Row, Transaction

logger = logging.getLogger(__name__)

_META = """
SELECT m.mode, m.log, m.system_identifier, m.timeline, m.boundary, m.horizon,
       CASE WHEN s.is_called THEN s.last_value ELSE 0 END AS last_seq
FROM messaging.outbox_meta AS m, messaging.outbox_seq AS s
"""
_LOCK = "SELECT FROM messaging.outbox_meta FOR UPDATE"
_FEED = """
UPDATE messaging.outbox_meta
SET mode = $4, log = $1, system_identifier = $2, timeline = $3, boundary = NULL,
    drained_at = NULL
"""
_READ_DIRECTLY = """
UPDATE messaging.outbox_meta
SET mode = 'direct', log = NULL, boundary = NULL, drained_at = NULL
"""
_PLACE = """
UPDATE messaging.outbox_lane AS l
SET position = n.position, moved_at = clock_timestamp(), token = NULL, lease_until = NULL
FROM unnest($1::bigint[]) WITH ORDINALITY AS n (position, place) WHERE l.lane = n.place - 1
"""
_ENDS = """
SELECT lane.lane, last.seq FROM messaging.outbox_lane AS lane CROSS JOIN LATERAL (
    SELECT seq FROM messaging.outbox AS o WHERE o.lane = lane.lane ORDER BY seq DESC LIMIT 1
) AS last
"""
_READERS_BEHIND = """
SELECT r.consumer, sum((
    SELECT count(*) FROM messaging.outbox AS o
    WHERE o.lane = p.place - 1 AND o.seq > p.position AND o.seq <= p.boundary
      AND o.topic = ANY(r.topics)
))::bigint
FROM messaging.outbox_reader AS r
CROSS JOIN LATERAL unnest(r.positions, $1::bigint[]) WITH ORDINALITY
    AS p (position, boundary, place)
GROUP BY r.consumer
"""
_RELAY_BEHIND = """
SELECT 'relay', sum((
    SELECT count(*) FROM messaging.outbox AS o
    WHERE o.lane = l.lane AND o.seq > l.position AND o.seq <= p.boundary
))::bigint
FROM unnest($1::bigint[]) WITH ORDINALITY AS p (boundary, place)
JOIN messaging.outbox_lane AS l ON l.lane = p.place - 1
"""
_DRAINED = """
UPDATE messaging.outbox_meta SET boundary = $1, drained_at = clock_timestamp()
"""
LAG = """
SELECT count(*) FROM messaging.outbox_lane AS l CROSS JOIN LATERAL (
    SELECT FROM messaging.outbox AS o WHERE o.lane = l.lane AND o.seq > l.position LIMIT 1000000
) AS unsent
"""
# What was sent in the window before the last move is sent again: a restored server may have
# forgotten positions, or the log what it acknowledged.
_REWIND = """
UPDATE messaging.outbox_lane AS l
SET token = NULL, lease_until = NULL, position = least(l.position, $2, coalesce((
    SELECT o.seq FROM messaging.outbox AS o
    WHERE o.lane = l.lane AND o.created_at < l.moved_at - make_interval(secs => $1)
    ORDER BY o.seq DESC LIMIT 1
), $3))
"""


async def attach(
    database: Database, service: str, log: str, *, rewind_seconds: float, mode: str = "relay"
) -> None:
    """See RelayStore.attach. Another server than last time is rewound by `rewind_seconds` (L1).

    In mode `cdc` a connector sends, and the relay only watches (protocol L6).
    """
    async with database.transaction() as transaction:
        await transaction.execute(_LOCK)
        (meta,) = await transaction.fetch(_META)
        server = await read_server(transaction)
        if meta["mode"] == mode:
            if meta["boundary"] is not None:  # drained, and the relay goes on all the same
                await transaction.execute("DELETE FROM messaging.outbox_reader")
            await _check_server(transaction, service, meta, server, rewind_seconds)
            await _check_log(transaction, service, meta, log)
        else:
            await _begin(transaction, service, meta)
        await transaction.execute(_FEED, log, server.system_identifier, server.timeline, mode)


async def require_relay(database: Database, service: str, mode: str = "relay") -> None:
    """Refuse to run on Kafka what goes another way and is not drained; else that is the mode.

    Needs no broker, so a service may publish before there is one.
    """
    async with database.transaction() as transaction:
        await transaction.execute(_LOCK)
        (meta,) = await transaction.fetch(_META)
        if meta["mode"] != mode:
            server = await read_server(transaction)
            await _begin(transaction, service, meta)
            await transaction.execute(_FEED, None, server.system_identifier, server.timeline, mode)


async def require_direct(database: Database, service: str) -> None:
    """Refuse to read directly what a relay carries and is not drained; else the mode is direct."""
    async with database.transaction() as transaction:
        (meta,) = await transaction.fetch(_META)
        if meta["mode"] == "direct" and meta["boundary"] is None:
            return
        await transaction.execute(_LOCK)
        (meta,) = await transaction.fetch(_META)
        if meta["mode"] == "cdc" and meta["boundary"] is None and meta["last_seq"]:
            raise ConfigurationError(in_cdc(service))
        if meta["mode"] == "relay" and meta["boundary"] is None and meta["last_seq"]:
            raise ConfigurationError(feeds_a_log(service))
        await transaction.execute(_READ_DIRECTLY)


async def drain(database: Database) -> Drained:
    """Write where another way may begin, if nobody of the present way lacks anything before it.

    May be repeated: the last boundary counts. Raises as `undrained`. From a relay's log the
    consumers have to be asked as well: look, ask them, then write.
    """
    found = await undrained(database)
    if not found.behind:
        await write_boundary(database, found.boundary)
    return found


async def write_boundary(database: Database, boundary: Sequence[int]) -> None:
    """Nobody of the present way lacks anything up to here: the next one begins there."""
    await database.fetch(_DRAINED, list(boundary))


async def undrained(database: Database, boundary: Sequence[int] | None = None) -> Drained:
    """Who lacks what up to the boundary; by default all that is there now.

    Raises ConfigurationError for held records, which only a relay can send.
    """
    async with database.transaction() as transaction:
        await transaction.execute(_LOCK)
        (meta,) = await transaction.fetch(_META)
        if boundary is None:
            ends = {row[0]: row[1] for row in await transaction.fetch(_ENDS)}
            boundary = [ends.get(lane, meta["horizon"] - 1) for lane in range(ALL_LANES)]
        is_direct = meta["mode"] == "direct"
        rows = await transaction.fetch(_READERS_BEHIND if is_direct else _RELAY_BEHIND, boundary)
        behind = {row[0]: row[1] for row in rows if row[1]}
        if not rows:  # nobody ever read: all that is retained is still to be read
            boundary = [meta["horizon"] - 1] * ALL_LANES
        if not is_direct and await count(transaction):
            raise ConfigurationError(
                "records are held that only the relay can send: see `waybill outbox held list`, "
                "resume or skip them, then drain again"
            )
    return Drained(meta["mode"], tuple(boundary), behind)


async def rewind(database: Database, to: int | None) -> list[int]:
    """Send again what is retained above `to` (all of it by default), to whatever log comes next.

    Positions never move forward. Owners lose their lanes and take them up again there.
    """
    async with database.transaction() as transaction:
        await transaction.execute(_LOCK)
        (meta,) = await transaction.fetch(_META)
        lowest = meta["horizon"] - 1
        wanted = lowest if to is None else to
        if not lowest <= wanted <= meta["last_seq"]:
            raise ConfigurationError(
                f"position {wanted} is not there: rows {lowest + 1} to {meta['last_seq']} are "
                "retained"
            )
        rows = await transaction.fetch("SELECT position FROM messaging.outbox_lane ORDER BY lane")
        positions = [min(row[0], wanted) for row in rows]
        await transaction.execute(_PLACE, positions)
        await transaction.execute("UPDATE messaging.outbox_meta SET log = NULL")
    return positions


async def _check_server(
    transaction: Transaction, service: str, meta: Row, server: Server, rewind_seconds: float
) -> None:
    known = (meta["system_identifier"], meta["timeline"])
    if known != (server.system_identifier, server.timeline):
        await transaction.execute(
            _REWIND, float(rewind_seconds), meta["last_seq"], meta["horizon"] - 1
        )
        logger.warning(
            "%s: its database is on another server than before; the last %.0f s are sent again",
            service,
            rewind_seconds,
        )


async def _check_log(transaction: Transaction, service: str, meta: Row, log: str) -> None:
    if meta["log"] in (None, log):
        return
    (row,) = await transaction.fetch(LAG)
    lag = row[0]
    if lag:
        raise ConfigurationError(other_log(service, lag, meta["log"], log))


async def _begin(transaction: Transaction, service: str, meta: Row) -> None:
    positions = starting_points(
        service, meta["mode"], boundary=meta["boundary"], last_seq=meta["last_seq"]
    )
    await transaction.execute(_PLACE, positions)
    # Those who read directly have passed the boundary; one that goes on registers again.
    await transaction.execute("DELETE FROM messaging.outbox_reader")
    logger.warning("%s: the relay begins behind %s", service, max(positions))

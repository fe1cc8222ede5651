"""Which way an outbox goes, and since when: its mode, its log, its server (protocol L1, L6).

A change of mode is refused until `drain` has written the boundary: how far every reader of the old
way was. The new way starts there, so that nothing is lost; inboxes remove what both read.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.arrays import encoded, numbers, optional_numbers, texts
from waybill.messaging.adapters.mysql.literals import seconds
from waybill.messaging.adapters.mysql.relay_held import count
from waybill.messaging.adapters.mysql.server import read_server
from waybill.messaging.core.argument_table import Table
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
    from collections.abc import Iterable, Sequence

    from waybill.messaging.core.ports import Database, Row, Transaction

logger = logging.getLogger(__name__)

_META = """
SELECT mode, log, system_identifier, boundary, horizon,
       greatest(coalesce((SELECT max(seq) FROM messaging_outbox), 0), horizon - 1) AS last_seq
FROM messaging_outbox_meta
"""
_LOCK = "SELECT single FROM messaging_outbox_meta FOR UPDATE"
_FEED = """
UPDATE messaging_outbox_meta
SET mode = $3, log = $1, system_identifier = $2, boundary = NULL, drained_at = NULL
"""
_READ_DIRECTLY = """
UPDATE messaging_outbox_meta
SET mode = 'direct', log = NULL, boundary = NULL, drained_at = NULL
"""
_PLACE = """
UPDATE messaging_outbox_lane AS l JOIN ($1) AS n ON n.lane = l.lane
SET l.position = n.position, l.moved_at = NOW(6), l.token = NULL, l.lease_until = NULL
"""
_LANES = "SELECT lane, position FROM messaging_outbox_lane ORDER BY lane"
_ENDS = "SELECT lane, max(seq) FROM messaging_outbox GROUP BY lane"
_READERS = "SELECT consumer, topics, positions FROM messaging_outbox_reader"
_BETWEEN = """
SELECT count(*) FROM ($1) AS p STRAIGHT_JOIN messaging_outbox AS o
    ON o.lane = p.lane AND o.seq > p.position AND o.seq <= p.boundary
"""
_DRAINED = "UPDATE messaging_outbox_meta SET boundary = $1, drained_at = NOW(6)"
_LAG = """
SELECT count(*) FROM messaging_outbox_lane AS l STRAIGHT_JOIN messaging_outbox AS o
    ON o.lane = l.lane AND o.seq > l.position
"""
# What was sent in the window before the last move is sent again: a restored server may have
# forgotten positions, or the log what it acknowledged.
_WINDOW = """
SELECT l.lane, l.position, (
    SELECT o.seq FROM messaging_outbox AS o
    WHERE o.lane = l.lane AND o.created_at < l.moved_at - INTERVAL $1 SECOND
    ORDER BY o.seq DESC LIMIT 1
) AS before_seq
FROM messaging_outbox_lane AS l ORDER BY l.lane
"""


async def attach(
    database: Database, service: str, log: str, *, rewind_seconds: float, mode: str = "relay"
) -> None:
    """See RelayStore.attach. Another server than last time is rewound by `rewind_seconds` (L1)."""
    async with database.transaction() as transaction:
        await transaction.fetch(_LOCK)
        (meta,) = await transaction.fetch(_META)
        server = await read_server(transaction)
        if meta["mode"] == mode:
            if meta["boundary"] is not None:  # drained, and the relay goes on all the same
                await transaction.execute("DELETE FROM messaging_outbox_reader")
            if meta["system_identifier"] != server.identifier:
                await _rewind_window(transaction, service, meta, rewind_seconds)
            await _check_log(transaction, service, meta, log)
        else:
            await _begin(transaction, service, meta)
        await transaction.execute(_FEED, log, server.identifier, mode)


async def require_relay(database: Database, service: str, mode: str = "relay") -> None:
    """Refuse to run on Kafka what goes another way and is not drained; else that is the mode."""
    async with database.transaction() as transaction:
        await transaction.fetch(_LOCK)
        (meta,) = await transaction.fetch(_META)
        if meta["mode"] != mode:
            server = await read_server(transaction)
            await _begin(transaction, service, meta)
            await transaction.execute(_FEED, None, server.identifier, mode)


async def require_direct(database: Database, service: str) -> None:
    """Refuse to read directly what a relay carries and is not drained; else the mode is direct."""
    async with database.transaction() as transaction:
        await transaction.fetch(_LOCK)
        (meta,) = await transaction.fetch(_META)
        open_way = meta["boundary"] is None and meta["last_seq"]
        if meta["mode"] == "cdc" and open_way:
            raise ConfigurationError(in_cdc(service))
        if meta["mode"] == "relay" and open_way:
            raise ConfigurationError(feeds_a_log(service))
        if meta["mode"] != "direct" or meta["boundary"] is not None:
            await transaction.execute(_READ_DIRECTLY)


async def drain(database: Database) -> Drained:
    """Write where another way may begin, if nobody of the present way lacks anything before it.

    May be repeated: the last boundary counts. Raises as `undrained`.
    """
    found = await undrained(database)
    if not found.behind:
        await write_boundary(database, found.boundary)
    return found


async def write_boundary(database: Database, boundary: Sequence[int]) -> None:
    """Nobody of the present way lacks anything up to here: the next one begins there."""
    await database.fetch(_DRAINED, encoded(boundary))


async def undrained(database: Database, boundary: Sequence[int] | None = None) -> Drained:
    """Who lacks what up to the boundary; by default all that is there now.

    Raises ConfigurationError for held records, which only a relay can send.
    """
    async with database.transaction() as transaction:
        await transaction.fetch(_LOCK)
        (meta,) = await transaction.fetch(_META)
        if boundary is None:
            ends = {row[0]: row[1] for row in await transaction.fetch(_ENDS)}
            boundary = [ends.get(lane, meta["horizon"] - 1) for lane in range(ALL_LANES)]
        behind: dict[str, int] = {}
        if meta["mode"] == "direct":
            readers = await transaction.fetch(_READERS)
            for row in readers:
                behind[row["consumer"]] = await _between(
                    transaction, numbers(row["positions"]), boundary, texts(row["topics"])
                )
            if not readers:  # nobody ever read: all that is retained is still to be read
                boundary = [meta["horizon"] - 1] * ALL_LANES
        else:
            positions = [row["position"] for row in await transaction.fetch(_LANES)]
            behind["relay"] = await _between(transaction, positions, boundary, ())
            if await count(transaction):
                raise ConfigurationError(
                    "records are held that only the relay can send: see `waybill outbox held "
                    "list`, resume or skip them, then drain again"
                )
    lacking = {name: rows for name, rows in behind.items() if rows}
    return Drained(meta["mode"], tuple(boundary), lacking)


async def rewind(database: Database, to: int | None) -> list[int]:
    """Send again what is retained above `to` (all of it by default), to whatever log comes next.

    Positions never move forward. Owners lose their lanes and take them up again there.
    """
    async with database.transaction() as transaction:
        await transaction.fetch(_LOCK)
        (meta,) = await transaction.fetch(_META)
        lowest = meta["horizon"] - 1
        wanted = lowest if to is None else to
        if not lowest <= wanted <= meta["last_seq"]:
            raise ConfigurationError(
                f"position {wanted} is not there: rows {lowest + 1} to {meta['last_seq']} are "
                "retained"
            )
        rows = await transaction.fetch(_LANES)
        positions = [min(row["position"], wanted) for row in rows]
        await _place(transaction, positions)
        await transaction.execute("UPDATE messaging_outbox_meta SET log = NULL")
    return positions


async def _between(
    transaction: Transaction,
    positions: Iterable[int],
    boundary: Sequence[int],
    topics: Sequence[str],
) -> int:
    """Rows of these topics (of all, if none is named) above the positions up to the boundary."""
    lanes = zip(range(ALL_LANES), positions, boundary, strict=True)
    arguments = [Table("lane, position, boundary", lanes)]
    if not topics:
        return int((await transaction.fetch(_BETWEEN, *arguments))[0][0])
    rows = await transaction.fetch(f"{_BETWEEN} WHERE o.topic IN ($2)", *arguments, list(topics))
    return int(rows[0][0])


async def _rewind_window(
    transaction: Transaction, service: str, meta: Row, rewind_seconds: float
) -> None:
    rows = await transaction.fetch(_WINDOW, seconds(rewind_seconds))
    lowest, last = meta["horizon"] - 1, meta["last_seq"]
    await _place(
        transaction,
        [
            min(row["position"], last, lowest if row["before_seq"] is None else row["before_seq"])
            for row in rows
        ],
    )
    logger.warning(
        "%s: its database is on another server than before; the last %.0f s are sent again",
        service,
        rewind_seconds,
    )


async def _check_log(transaction: Transaction, service: str, meta: Row, log: str) -> None:
    if meta["log"] in {None, log}:
        return
    (row,) = await transaction.fetch(_LAG)
    if row[0]:
        raise ConfigurationError(other_log(service, row[0], meta["log"], log))


async def _begin(transaction: Transaction, service: str, meta: Row) -> None:
    boundary = optional_numbers(meta["boundary"])
    positions = starting_points(service, meta["mode"], boundary=boundary, last_seq=meta["last_seq"])
    await _place(transaction, positions)
    # Those who read directly have passed the boundary; one that goes on registers again.
    await transaction.execute("DELETE FROM messaging_outbox_reader")
    logger.warning("%s: the relay begins behind %s", service, max(positions))


async def _place(transaction: Transaction, positions: Sequence[int]) -> None:
    await transaction.execute(_PLACE, Table("lane, position", enumerate(positions)))

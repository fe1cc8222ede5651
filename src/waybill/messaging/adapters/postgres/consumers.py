"""What an operator does about consumers: see their lag, reset their positions, forget them (D4)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from waybill.messaging.adapters.postgres.topics import lane_ends
from waybill.messaging.core.consumers import (
    ACTIVE_SECONDS,
    ConsumerInfo,
    consumer_info,
    still_runs,
)
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from waybill.messaging.core.ports import Database, Row

logger = logging.getLogger(__name__)

_READERS = """
SELECT r.consumer, r.topics, r.seen_at,
       extract(epoch FROM clock_timestamp() - r.seen_at)::double precision AS silent_seconds,
       (SELECT count(*) FROM unnest(r.positions) WITH ORDINALITY AS p (position, place)
        CROSS JOIN LATERAL (
            SELECT FROM messaging.outbox AS o
            WHERE o.lane = p.place - 1 AND o.seq > p.position AND o.topic = ANY(r.topics)
        ) AS unread) AS lag
FROM messaging.outbox_reader AS r ORDER BY r.consumer
"""
_SOURCES = """
SELECT consumer, source, positions IS NOT NULL AS has_begun,
       start[1] AS started_at, horizon,
       CASE WHEN lease_until > clock_timestamp() THEN lease_token END AS holder
FROM messaging.consumer_source ORDER BY consumer, source
"""
_REGISTER = """
SELECT horizon, horizon_at, last_seq, system_identifier, timeline
FROM messaging.register_reader($1, $2::text[], $3::bigint[], $4::bigint[])
"""
_RESET = f"""
UPDATE messaging.consumer_source
SET positions = $3, start = $3, last_ids = array_fill(NULL::uuid, ARRAY[{ALL_LANES}]),
    lease_token = NULL, lease_until = NULL, system_identifier = $4, timeline = $5,
    horizon = $6, horizon_at = $7, updated_at = clock_timestamp()
WHERE consumer = $1 AND source = $2
RETURNING source
"""  # noqa: S608 - constants
_ENSURE = """
INSERT INTO messaging.consumer_source (consumer, source, topics) VALUES ($1, $2, $3)
ON CONFLICT (consumer, source) DO NOTHING
"""
_FORGET = """
DELETE FROM messaging.outbox_reader
WHERE consumer = $1
  AND ($2 OR seen_at < clock_timestamp() - make_interval(secs => $3))
RETURNING consumer
"""


async def list_consumers(
    sources: Mapping[str, Database], consumers: Mapping[str, Database]
) -> list[ConsumerInfo]:
    """Every consumer that a source or a consuming database knows, by consumer and source.

    All databases are opened as their service roles.
    """
    readers: dict[tuple[str, str], Row] = {}
    for source, database in sources.items():
        for row in await database.fetch(_READERS):
            readers[row["consumer"], source] = row
    own: dict[tuple[str, str], Row] = {}
    for database in consumers.values():
        for row in await database.fetch(_SOURCES):
            own[row["consumer"], row["source"]] = row
    return [
        consumer_info(
            consumer, source, readers.get((consumer, source)), own.get((consumer, source))
        )
        for consumer, source in sorted(readers.keys() | own.keys())
    ]


async def reset_consumer(
    consuming: Database,
    source: Database,
    *,
    consumer: str,
    source_name: str,
    to: Literal["horizon", "end"] | int,
) -> tuple[int, ...]:
    """Read this source again from there (or skip to there); the new positions by lane.

    `source` is opened as its reader role (or owner), `consuming` as the consumer's service role.
    May be done while the consumer runs: its lease is void, so it drops what it holds and starts
    again. The inbox leaves out what was applied before, while its rows last. An integer is the
    last seq that counts as read, in every lane. Raises ConfigurationError.
    """
    rows = await consuming.fetch(
        "SELECT topics FROM messaging.consumer_source WHERE consumer = $1 AND source = $2",
        consumer,
        source_name,
    )
    if not rows:
        raise ConfigurationError(
            f"{consumer} has never read {source_name}: see waybill consumers list"
        )
    topics = rows[0]["topics"]
    (now,) = await source.fetch(_REGISTER, consumer, topics, None, None)
    positions = await _positions(source, now, to)
    await source.fetch(_REGISTER, consumer, topics, positions, positions)
    await consuming.fetch(
        _RESET,
        consumer,
        source_name,
        positions,
        now["system_identifier"],
        now["timeline"],
        now["horizon"],
        now["horizon_at"],
    )
    logger.warning("%s was reset in %s to %s", consumer, source_name, to)
    return tuple(positions)


async def place_consumer(
    consuming: Database,
    source: Database,
    *,
    consumer: str,
    source_name: str,
    topics: Sequence[str],
    positions: Sequence[int],
) -> None:
    """Have this consumer begin there when it reads this source, whether it ever did or not.

    As `reset_consumer`, for one that has read the topics elsewhere until now (protocol L6).
    """
    places = list(positions)
    (now,) = await source.fetch(_REGISTER, consumer, sorted(topics), places, places)
    await consuming.fetch(_ENSURE, consumer, source_name, sorted(topics))
    await consuming.fetch(
        _RESET,
        consumer,
        source_name,
        places,
        now["system_identifier"],
        now["timeline"],
        now["horizon"],
        now["horizon_at"],
    )


async def forget_consumer(
    source: Database,
    *,
    consumer: str,
    source_name: str,
    consuming: Database | None = None,
    force: bool = False,
) -> bool:
    """Let retention go on without this consumer; whether the source knew it.

    Both databases are opened as their service roles.
    If it ever comes back, it starts anew (or, with its own row kept, may stand below the
    horizon). Raises ConfigurationError for one that runs, unless forced.
    """
    known = await source.fetch("SELECT FROM messaging.outbox_reader WHERE consumer = $1", consumer)
    gone = await source.fetch(_FORGET, consumer, force, float(ACTIVE_SECONDS))
    if known and not gone:
        raise still_runs(consumer, source_name)
    if consuming is not None:
        await consuming.fetch(
            "DELETE FROM messaging.consumer_source WHERE consumer = $1 AND source = $2",
            consumer,
            source_name,
        )
    logger.warning("%s was forgotten in %s", consumer, source_name)
    return bool(gone)


async def _positions(source: Database, now: Row, to: Literal["horizon", "end"] | int) -> list[int]:
    lowest, highest = now["horizon"] - 1, now["last_seq"]
    if to == "end":
        return [max(lowest, end) for end in await lane_ends(source)]
    if to == "horizon":
        return [lowest] * ALL_LANES
    if not lowest <= to <= highest:
        raise ConfigurationError(
            f"position {to} is not there: rows {lowest + 1} to {highest} are retained"
        )
    return [to] * ALL_LANES

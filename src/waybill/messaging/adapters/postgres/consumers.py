"""What an operator does about consumers: see their lag, forget them (protocol D4)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from waybill.messaging.core.consumers import (
    ACTIVE_SECONDS,
    ConsumerInfo,
    consumer_info,
    still_runs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

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

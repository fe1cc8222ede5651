"""What an operator does about consumers on MariaDB and MySQL: see their lag, forget them (D4)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from waybill.messaging.adapters.mysql.arrays import numbers, optional_numbers, texts
from waybill.messaging.core.argument_table import Table
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
SELECT consumer, topics, positions, seen_at,
       timestampdiff(MICROSECOND, seen_at, NOW(6)) / 1000000e0 AS silent_seconds
FROM messaging_outbox_reader ORDER BY consumer
"""
_LAG = """
SELECT count(*) FROM ($1) AS p STRAIGHT_JOIN messaging_outbox AS o
    ON o.lane = p.lane AND o.seq > p.position
WHERE o.topic IN ($2)
"""
_SOURCES = """
SELECT consumer, source, start, IF(lease_until > NOW(6), lease_token, NULL) AS holder
FROM messaging_consumer_source ORDER BY consumer, source
"""
_KNOWN = """
SELECT seen_at < NOW(6) - INTERVAL $2 SECOND AS is_gone FROM messaging_outbox_reader
WHERE consumer = $1 FOR UPDATE
"""
_FORGET = "DELETE FROM messaging_outbox_reader WHERE consumer = $1"
_FORGET_SOURCE = "DELETE FROM messaging_consumer_source WHERE consumer = $1 AND source = $2"


async def list_consumers(
    sources: Mapping[str, Database], consumers: Mapping[str, Database]
) -> list[ConsumerInfo]:
    """Every consumer that a source or a consuming database knows, by consumer and source."""
    readers: dict[tuple[str, str], dict[str | int, Any]] = {}
    for source, database in sources.items():
        for row in await database.fetch(_READERS):
            readers[row["consumer"], source] = await _reader(database, row)
    own: dict[tuple[str, str], dict[str | int, Any]] = {}
    for database in consumers.values():
        for row in await database.fetch(_SOURCES):
            start = optional_numbers(row["start"])
            own[row["consumer"], row["source"]] = {
                "holder": row["holder"],
                "started_at": start[0] if start else None,
            }
    return [
        consumer_info(*place, readers.get(place), own.get(place))
        for place in sorted(readers.keys() | own.keys())
    ]


async def _reader(database: Database, row: Row) -> dict[str | int, Any]:
    topics = texts(row["topics"])
    lanes = Table("lane, position", enumerate(numbers(row["positions"])))
    return {
        "topics": topics,
        "lag": (await database.fetch(_LAG, lanes, list(topics)))[0][0],
        "seen_at": row["seen_at"],
        "silent_seconds": float(row["silent_seconds"]),
    }


async def forget_consumer(
    source: Database,
    *,
    consumer: str,
    source_name: str,
    consuming: Database | None = None,
    force: bool = False,
) -> bool:
    """Let retention go on without this consumer; whether the source knew it.

    Both databases are opened as their service roles. Raises ConfigurationError for one that runs,
    unless forced.
    """
    async with source.transaction() as transaction:
        known = await transaction.fetch(_KNOWN, consumer, ACTIVE_SECONDS)
        if known and not known[0]["is_gone"] and not force:
            raise still_runs(consumer, source_name)
        await transaction.execute(_FORGET, consumer)
    if consuming is not None:
        await consuming.fetch(_FORGET_SOURCE, consumer, source_name)
    logger.warning("%s was forgotten in %s", consumer, source_name)
    return bool(known)

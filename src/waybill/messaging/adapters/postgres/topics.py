"""What an operator sees of topics: how much is in each, and the records themselves."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.adapters.postgres.outbox_rows import FETCH
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.outbox_row import BATCH_BYTES_MAX, VALUE_BYTES_MAX, to_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Database

PAGE_ROWS = 500
FOLLOW_SECONDS = 0.5

_LIST = """
SELECT topic, count(*) AS rows, min(seq) AS first_seq, max(seq) AS last_seq,
       min(created_at) AS first_at, max(created_at) AS last_at
FROM messaging.outbox GROUP BY topic ORDER BY topic
"""
_ENDS = """
SELECT p.lane, last.seq FROM generate_series(0, $1::integer) AS p (lane)
CROSS JOIN LATERAL (
    SELECT seq FROM messaging.outbox AS r WHERE r.lane = p.lane ORDER BY seq DESC LIMIT 1
) AS last
"""


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One topic in one outbox: what is retained of it."""

    topic: str
    source: str
    rows: int
    first_seq: int
    last_seq: int
    first_at: datetime
    last_at: datetime


async def list_topics(sources: Mapping[str, Database]) -> list[TopicInfo]:
    """Topics by name, in every outbox that has some of it. Reads whole outboxes: not for loops."""
    found = []
    for source, database in sources.items():
        rows = await database.fetch(_LIST)
        fields = ("topic", "rows", "first_seq", "last_seq", "first_at", "last_at")
        found += [TopicInfo(source=source, **{f: row[f] for f in fields}) for row in rows]
    return sorted(found, key=lambda info: (info.topic, info.source))


async def lane_ends(database: Database) -> list[int]:
    """The last seq of each lane, 0 if it has none."""
    found = {row[0]: row[1] for row in await database.fetch(_ENDS, ALL_LANES - 1)}
    return [found.get(lane, 0) for lane in range(ALL_LANES)]


async def read_topic(
    sources: Mapping[str, Database],
    topic: str,
    *,
    from_end: bool = False,
    follow: bool = False,
    key: str | None = None,
) -> AsyncIterator[Record]:
    """Records of a topic, united over the outboxes (as `<t>.DLT` is), in seq order per lane.

    Takes part in nothing: no position is stored, retention is not held back. With `follow` it
    never ends by itself.
    """
    positions = {
        name: await lane_ends(database) if from_end else [0] * ALL_LANES
        for name, database in sources.items()
    }
    while True:
        more = False
        for name, database in sources.items():
            page, full = await _page(database, name, topic, positions[name])
            more = more or full
            for record in page:
                if key is None or record.message.key == key:
                    yield record
        if not more:
            if not follow:
                return
            await asyncio.sleep(FOLLOW_SECONDS)


async def _page(
    database: Database, source: str, topic: str, positions: list[int]
) -> tuple[list[Record], bool]:
    """The next rows above the positions, which move; and whether there may be more."""
    # The lane that is furthest behind comes first, so that the page is old before new.
    lanes = sorted(range(ALL_LANES), key=lambda lane: positions[lane])
    behind = [positions[lane] for lane in lanes]
    rows = await database.fetch(
        FETCH, lanes, behind, [topic], PAGE_ROWS, VALUE_BYTES_MAX, BATCH_BYTES_MAX
    )
    records = []
    for row in rows:
        positions[row[0]] = row[1]
        if row[3] == topic:
            records.append(to_record(source, row))  # type: ignore[arg-type] # asyncpg rows iterate
    records.sort(key=lambda record: record.seq)
    size = sum(len(record.message.value) for record in records)
    return records, len(rows) >= PAGE_ROWS or size >= BATCH_BYTES_MAX

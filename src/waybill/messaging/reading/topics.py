"""What an operator sees of topics: how much is in each, and the records themselves.

The same on every engine; what differs is how rows are found.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.outbox_row import BATCH_BYTES_MAX, to_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Database, Row

PAGE_ROWS = 500
FOLLOW_SECONDS = 0.5


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One topic in one outbox: what is retained of it."""

    topic: str
    source: str
    rows: int
    first_seq: int
    last_seq: int
    first_at: datetime
    last_at: datetime


class Topics(ABC):
    """Takes part in nothing: no position is stored, retention is not held back."""

    @abstractmethod
    async def count(self, database: Database) -> Sequence[Row]:
        """A row a topic, by TopicInfo's names but for the source. Reads the whole outbox."""

    @abstractmethod
    async def ends(self, database: Database) -> Sequence[Row]:
        """Lane and last seq of each lane that has rows."""

    @abstractmethod
    async def page(
        self, database: Database, lanes: Sequence[int], behind: Sequence[int], topic: str
    ) -> Sequence[Row]:
        """At most PAGE_ROWS rows above positions, lanes in the given order."""

    async def list_topics(self, sources: Mapping[str, Database]) -> list[TopicInfo]:
        """Topics by name, in every outbox that has some of it. Reads whole outboxes."""
        found = []
        for source, database in sources.items():
            rows = await self.count(database)
            fields = ("topic", "rows", "first_seq", "last_seq", "first_at", "last_at")
            found += [TopicInfo(source=source, **{f: row[f] for f in fields}) for row in rows]
        return sorted(found, key=lambda info: (info.topic, info.source))

    async def lane_ends(self, database: Database) -> list[int]:
        """The last seq of each lane, 0 if it has none."""
        found = {row[0]: row[1] for row in await self.ends(database)}
        return [found.get(lane, 0) for lane in range(ALL_LANES)]

    async def read_topic(
        self,
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
            name: await self.lane_ends(database) if from_end else [0] * ALL_LANES
            for name, database in sources.items()
        }
        while True:
            more = False
            for name, database in sources.items():
                page, full = await self._page(database, name, topic, positions[name])
                more = more or full
                for record in page:
                    if key is None or record.message.key == key:
                        yield record
            if not more:
                if not follow:
                    return
                await asyncio.sleep(FOLLOW_SECONDS)

    async def _page(
        self, database: Database, source: str, topic: str, positions: list[int]
    ) -> tuple[list[Record], bool]:
        """The next rows above the positions, which move; and whether there may be more."""
        # The lane that is furthest behind comes first, so that the page is old before new.
        lanes = sorted(range(ALL_LANES), key=lambda lane: positions[lane])
        behind = [positions[lane] for lane in lanes]
        rows = await self.page(database, lanes, behind, topic)
        records = []
        for row in rows:
            positions[row[0]] = row[1]
            if row[3] == topic:
                records.append(to_record(source, row))  # type: ignore[arg-type] # rows iterate
        records.sort(key=lambda record: record.seq)
        size = sum(len(record.message.value) for record in records)
        return records, len(rows) >= PAGE_ROWS or size >= BATCH_BYTES_MAX

"""What an operator sees of topics on PostgreSQL: see reading.topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.outbox_rows import FETCH
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.outbox_row import BATCH_BYTES_MAX, VALUE_BYTES_MAX
from waybill.messaging.reading.topics import PAGE_ROWS, Topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database, Row

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


class PostgresTopics(Topics):
    """See reading.topics.Topics."""

    async def count(self, database: Database) -> Sequence[Row]:
        """See Topics.count."""
        return await database.fetch(_LIST)

    async def ends(self, database: Database) -> Sequence[Row]:
        """See Topics.ends."""
        return await database.fetch(_ENDS, ALL_LANES - 1)

    async def page(
        self, database: Database, lanes: Sequence[int], behind: Sequence[int], topic: str
    ) -> Sequence[Row]:
        """See Topics.page."""
        return await database.fetch(
            FETCH, lanes, behind, [topic], PAGE_ROWS, VALUE_BYTES_MAX, BATCH_BYTES_MAX
        )


TOPICS = PostgresTopics()
list_topics, lane_ends, read_topic = TOPICS.list_topics, TOPICS.lane_ends, TOPICS.read_topic

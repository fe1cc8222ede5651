"""What an operator sees of topics on MariaDB and MySQL: see reading.topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql import pages
from waybill.messaging.reading.topics import PAGE_ROWS, Topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database, Row

_LIST = """
SELECT topic, count(*) AS `rows`, min(seq) AS first_seq, max(seq) AS last_seq,
       min(created_at) AS first_at, max(created_at) AS last_at
FROM messaging_outbox GROUP BY topic ORDER BY topic
"""
_ENDS = "SELECT lane, max(seq) FROM messaging_outbox GROUP BY lane"


class MysqlTopics(Topics):
    """See reading.topics.Topics."""

    async def count(self, database: Database) -> Sequence[Row]:
        """See Topics.count."""
        return await database.fetch(_LIST)

    async def ends(self, database: Database) -> Sequence[Row]:
        """See Topics.ends."""
        return await database.fetch(_ENDS)

    async def page(
        self, database: Database, lanes: Sequence[int], behind: Sequence[int], topic: str
    ) -> Sequence[Row]:
        """See Topics.page."""
        return await pages.page(database, lanes, behind, [topic], PAGE_ROWS)


TOPICS = MysqlTopics()

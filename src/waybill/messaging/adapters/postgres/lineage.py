"""Which database this is, and since when: another text whenever commits may have gone.

Data that were restored, a stand-by that was promoted and a database made anew each come with a
server that started at another moment, or with another database on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

_LINEAGE = """
SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || oid::text AS lineage
FROM pg_database WHERE datname = current_database()
"""


async def lineage(database: Database) -> str:
    """A text to tell it from every other database, and from itself before a restart."""
    rows = await database.fetch(_LINEAGE)
    return str(rows[0]["lineage"])

"""Records of strangers in our topics, whatever they say of themselves: a dead letter tells of them.

One that names a producer of ours would be a ghost: it is left out if dead letters of its very place
account for it, open ones, or discarded ones with who and why, and nobody applied it. One that takes
the id of a message of ours with another value is left out, too, or it would pass for that message.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Collection

    from waybill.operations.audit.snapshot import Reading
    from waybill.operations.audit.topic_index import TopicIndex

TABLES = (
    """
    CREATE TABLE letter (
        topic TEXT, partition INTEGER, place INTEGER, message_id TEXT, digest BLOB, explains INTEGER
    )
    """,
    "CREATE TABLE applied (message_id TEXT)",
    "CREATE TABLE own (id TEXT, topic TEXT, digest BLOB)",
)
INSERT_ROWS = 1_000

# Of a log: there the source of a message is its topic.
_LETTERS = """
SELECT topic, lane, seq, message_id::text AS message_id, sha256(value) AS digest,
       verdict = 'OPEN' OR (verdict = 'DISCARDED' AND coalesce(verdict_by, '') <> ''
                            AND coalesce(verdict_reason, '') <> '') AS explains
FROM messaging.dead_letters WHERE source = topic AND topic = ANY ($1::text[])
"""
_APPLIED = """
SELECT DISTINCT message_id::text AS message_id FROM messaging.inbox
WHERE message_id = ANY ($1::uuid[])
"""
_OWN = """
SELECT id::text AS id, topic, sha256(payload) AS digest FROM messaging.outbox
WHERE id = ANY ($1::uuid[])
"""
# A topic that was made anew has other records in the places that letters tell of.
_AT_LETTERS = """
FROM found AS f JOIN letter AS l
  ON l.topic = f.topic AND l.partition = f.partition AND l.place = f.place AND l.digest = f.digest
"""
_LETTER_IDS = "SELECT DISTINCT message_id FROM letter"
_CLAIMED_IDS = f"SELECT DISTINCT f.id {_AT_LETTERS}"
_LEAVE_OUT = f"""
DELETE FROM found WHERE rowid IN (
    SELECT f.rowid {_AT_LETTERS}
    LEFT JOIN applied AS a ON a.message_id = l.message_id
    LEFT JOIN own AS o ON o.id = f.id AND o.topic = f.topic
    GROUP BY f.rowid
    HAVING CASE WHEN count(o.id) THEN max(o.digest = f.digest) = 0
                ELSE min(l.explains) AND count(a.message_id) = 0 END
)
"""  # noqa: S608 - constants


async def leave_out(
    index: TopicIndex, readings: Collection[Reading], topics: Collection[str]
) -> None:
    """Drop from an index what dead letters account for, so that it proves and breaks nothing."""
    for reading in readings:
        await _letters(index, reading, topics)
    for page in index.pages(_LETTER_IDS):
        ids = [UUID(message_id) for (message_id,) in page if message_id]
        for reading in readings:
            rows = await reading.fetch(_APPLIED, ids)
            index.insert("applied", [(row["message_id"],) for row in rows])
    for page in index.pages(_CLAIMED_IDS):
        ids = [known for (text,) in page if (known := _uuid(text or "")) is not None]
        for reading in readings:
            rows = await reading.fetch(_OWN, ids)
            index.insert("own", [(row["id"], row["topic"], row["digest"]) for row in rows])
    await asyncio.to_thread(index.execute, _LEAVE_OUT)


async def _letters(index: TopicIndex, reading: Reading, topics: Collection[str]) -> None:
    page: list[tuple[object, ...]] = []
    async for row in reading.stream(_LETTERS, topics):
        columns = ("topic", "lane", "seq", "message_id", "digest", "explains")
        page.append(tuple(row[column] for column in columns))
        if len(page) >= INSERT_ROWS:
            index.insert("letter", page)
            page.clear()
    index.insert("letter", page)


def _uuid(text: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(text)
    return None

"""What the topics hold and what the outboxes sent, side by side on disk.

Topics are read to an end that is asked after the snapshots were taken, so that what they say is
sent must be there; only what stood there before the snapshots must have a row in them.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from waybill.messaging.core.lanes import ALL_LANES, DEAD_LETTER_LANE
from waybill.messaging.core.message import BIGINT_MAX
from waybill.operations.audit import relayed, strangers
from waybill.operations.audit.disk_index import disk_index, pages

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping

    from waybill.messaging.adapters.kafka.headers import Consumed
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.operations.audit.disk_index import Rows
    from waybill.operations.audit.scope import Scope
    from waybill.operations.audit.snapshot import Reading

Ends = dict[tuple[str, int], int]

_FOUND = """
CREATE TABLE found (
    topic TEXT, partition INTEGER, place INTEGER, id TEXT, producer TEXT, key TEXT,
    aggregate TEXT, version INTEGER, made_at REAL, is_early INTEGER, reader TEXT, digest BLOB
)
"""
_SENT = """
CREATE TABLE sent (
    producer TEXT, topic TEXT, id TEXT, cause TEXT, lane INTEGER, seq INTEGER, key TEXT, type TEXT,
    created_at REAL, is_due INTEGER
)
"""
_INDEXES = (
    "CREATE INDEX found_ids ON found (id, topic)",
    "CREATE INDEX found_places ON found (topic, partition, place)",
    "CREATE INDEX sent_ids ON sent (id)",
    "CREATE INDEX sent_causes ON sent (cause)",
)
# A dead letter's record carries the id of its original, which caused it; a connector's its own.
_ROWS = """
SELECT o.topic, o.id::text AS id, o.lane, o.seq, o.aggregateid AS key, o.type,
       CASE WHEN o.lane = $1 THEN o.causation_id::text END AS cause,
       extract(epoch FROM o.created_at)::float8 AS created_at,
       o.seq <= l.position AND NOT EXISTS (
           SELECT FROM messaging.outbox_held AS h WHERE h.lane = o.lane AND h.seq = o.seq
       ) AS is_due
FROM messaging.outbox AS o JOIN messaging.outbox_lane AS l ON l.lane = o.lane
WHERE o.topic = ANY ($2::text[])
"""
_HORIZON = "SELECT extract(epoch FROM horizon_at)::float8 AS at FROM messaging.outbox_meta"
_DIRECT = (
    "SELECT positions FROM messaging.consumer_source WHERE source = $1 AND positions IS NOT NULL"
)
_WAS_DIRECT = """
SELECT EXISTS (SELECT FROM messaging.consumer_source WHERE 0 < ANY (positions)) AS so
"""
ORIGINAL_TOPIC, ORIGINAL_GROUP = "kafka_dlt-original-topic", "kafka_dlt-original-consumer-group"
INSERT_ROWS = 5_000


class TopicIndex:
    """Tables `found` (records of our topics) and `sent` (rows of outboxes that a relay carries)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.kept_since: dict[str, float] = {}
        """Topics that retention has begun to empty: all that is younger must still be there."""
        self.horizons: dict[str, float] = {}
        """By producer: rows created before are gone."""
        self.taken_directly: dict[str, list[int]] = {}
        """By producer and lane: what every reader took from the outbox itself, before Kafka."""
        self.once_direct: set[str] = set()
        """Producers whose services read outboxes directly before Kafka."""
        self._connection = connection

    def pages(self, query: str) -> Iterator[Rows]:
        """The rows of a query, a page at a time. Blocks."""
        yield from pages(self._connection, query)

    def insert(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Rows of one of the tables, whole."""
        page = list(rows)
        if page:
            marks = ", ".join("?" * len(page[0]))
            self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", page)  # noqa: S608 - constants

    def execute(self, statement: str) -> None:
        """A statement that gives nothing."""
        self._connection.execute(statement)

    def finish(self) -> None:
        """All is there: make it quick to ask."""
        for index in _INDEXES:
            self.execute(index)


class Bus:
    """The topics of one scope's services, as brokers tell of them."""

    def __init__(self, settings: KafkaSettings, scope: Scope) -> None:
        # Only the audit of a platform on Kafka loads its client.
        from waybill.messaging.adapters.kafka.topics import Topics  # noqa: PLC0415

        published = sorted({t for service in scope.services.values() for t in service.publishes})
        self._names = [
            name + end for name in published for end in ("", scope.blueprint.dead_letter_suffix)
        ]
        self._settings = settings
        self._scope = scope
        self._topics = Topics(settings)

    async def ends(self) -> Ends:
        """Where each partition ends now. Raises TransientError."""
        return await self._topics.end_offsets(self._names)

    @contextmanager
    def index(self) -> Iterator[TopicIndex]:
        """An empty index, gone at the end of the block."""
        with disk_index(_FOUND, _SENT, *strangers.TABLES) as connection:
            yield TopicIndex(connection)

    async def fill(self, index: TopicIndex, readings: Mapping[str, Reading], early: Ends) -> None:
        """Read all of both. `early` are the ends before the snapshots. Raises TransientError."""
        starts, ends = await self._topics.first_offsets(self._names), await self.ends()
        await asyncio.to_thread(self._read, index, starts, ends, early)
        for database in self._scope.services:
            if await relayed.is_relayed(readings[database]):
                await self._rows(index, readings, database)
        await asyncio.to_thread(index.finish)
        ours = [readings[database] for database in self._scope.services]
        await strangers.leave_out(index, ours, self._names)

    def _read(self, index: TopicIndex, starts: Ends, ends: Ends, early: Ends) -> None:
        from waybill.messaging.adapters.kafka.scan import pages as records  # noqa: PLC0415

        for (topic, partition), start in starts.items():
            if start and start >= ends.get((topic, partition), 0):
                index.kept_since[topic] = float("inf")  # nothing of the partition is left
        for page in records(self._settings, starts, ends):
            for record in page:
                if starts[record.topic(), record.partition()] == record.offset() > 0:
                    at = record.timestamp()[1] / 1000
                    index.kept_since[record.topic()] = max(
                        at, index.kept_since.get(record.topic(), at)
                    )
            index.insert("found", (_found(record, early) for record in page))

    async def _rows(
        self, index: TopicIndex, readings: Mapping[str, Reading], database: str
    ) -> None:
        producer = self._scope.consumer_id(database)
        (row,) = await readings[database].fetch(_HORIZON)
        index.horizons[producer] = row["at"] or 0.0
        (row,) = await readings[database].fetch(_WAS_DIRECT)
        if row["so"]:
            index.once_direct.add(producer)
        index.taken_directly[producer] = await self._directly(readings, database)
        page: list[tuple[object, ...]] = []
        async for each in readings[database].stream(_ROWS, DEAD_LETTER_LANE, self._names):
            columns = ("topic", "id", "cause", "lane", "seq", "key", "type", "created_at", "is_due")
            page.append((producer, *(each[column] for column in columns)))
            if len(page) >= INSERT_ROWS:
                index.insert("sent", page)
                page.clear()
        index.insert("sent", page)

    async def _directly(self, readings: Mapping[str, Reading], database: str) -> list[int]:
        """Positions of the slowest of those who read this outbox itself, until the switch."""
        source, lowest = self._scope.consumer_id(database), [0] * ALL_LANES
        readers = {route.consumer for route in self._scope.routes if route.source == database}
        known = [await readings[reader].fetch(_DIRECT, source) for reader in sorted(readers)]
        if known and all(known):
            lowest = [
                min(places)
                for places in zip(*(rows[0]["positions"] for rows in known), strict=True)
            ]
        return lowest


def _found(record: Consumed, early: Ends) -> tuple[object, ...]:
    given = record.headers() or []
    headers = dict(given)
    if ORIGINAL_TOPIC in headers:
        # Ours come first; behind them those of the original, which may be called the same.
        headers = dict(reversed(given))
    made_at = record.timestamp()[1] / 1000
    if time := _text(headers.get("ce_time")):
        with suppress(ValueError):  # a stranger's: when it was written, then
            made_at = _instant(time)
    place = (record.topic(), record.partition())
    return (
        *(*place, record.offset()),
        _text(headers.get("eventId")) or _text(headers.get("ce_id")),
        _text(headers.get("producer")),
        _text(record.key()),
        _text(headers.get("aggregateType")),
        _version(_text(headers.get("aggregateVersion"))),
        made_at,
        record.offset() < early.get(place, 0),
        _text(headers.get(ORIGINAL_GROUP)),
        sha256(record.value() or b"").digest(),
    )


def _version(text: str) -> int | None:
    """None for what no aggregate has: a stranger may write any number."""
    known = len(text) <= len(str(BIGINT_MAX)) and text.isdecimal() and int(text) <= BIGINT_MAX
    return int(text) if known else None


def _instant(text: str) -> float:
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "backslashreplace")

"""The topics of a platform on Kafka: they hold what the outboxes sent, and nothing else of ours.

What retention dropped proves nothing, in a topic or in an outbox; nor does what strangers wrote,
if it names no producer of ours or a dead letter accounts for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.lanes import DEAD_LETTER_LANE
from waybill.operations.audit.rule import Books, Kind, Rule
from waybill.operations.audit.scope import Need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from waybill.operations.audit.rule import Found
    from waybill.operations.audit.topic_index import TopicIndex

NONE_YET = 2**63
"""Above every seq."""

_MISSING = """
SELECT producer, topic, id, lane, seq, key, type, created_at FROM sent AS s
WHERE is_due AND NOT EXISTS (SELECT 1 FROM found AS f WHERE f.id = s.id AND f.topic = s.topic)
  AND NOT EXISTS (
      SELECT 1 FROM found AS f
      WHERE f.id = s.cause AND f.topic = s.topic AND f.reader IN ('', s.producer)
  )
ORDER BY producer, seq
"""
_GHOSTS = """
SELECT producer, topic, partition, place, id, key, made_at FROM found AS f
WHERE is_early AND NOT EXISTS (SELECT 1 FROM sent AS s WHERE s.id = f.id)
  AND NOT EXISTS (SELECT 1 FROM sent AS s WHERE s.cause = f.id AND s.topic = f.topic)
ORDER BY topic, partition, place
"""
_SCATTERED = """
SELECT topic, key, count(DISTINCT partition), min(partition), max(partition) FROM found
WHERE producer <> '' GROUP BY topic, key HAVING count(DISTINCT partition) > 1 ORDER BY topic, key
"""
# A repeat of what was sent before may stand behind newer ones: the first of each counts.
_OUT_OF_ORDER = """
SELECT topic, aggregate, key, partition, place, version, before FROM (
    SELECT topic, aggregate, key, partition, place, version,
           lag(version) OVER (PARTITION BY producer, topic, aggregate, key ORDER BY place) AS before
    FROM (
        SELECT producer, topic, aggregate, key, partition, min(place) AS place, version FROM found
        WHERE version IS NOT NULL AND topic NOT LIKE '%.DLT' AND topic NOT LIKE '%.dlq'
        GROUP BY producer, topic, aggregate, key, partition, version
    )
) WHERE version < before ORDER BY topic, partition, place
"""


def _index(books: Books) -> TopicIndex:
    if books.topics is None:
        raise AssertionError("a rule of topics runs with brokers only")
    return books.topics


async def sent_is_there(books: Books) -> AsyncIterator[Found]:
    """I16: what an outbox counts as sent stands in its topic, while retention keeps it."""
    index, first_dead_letters = _index(books), _first_dead_letters(books)
    for page in index.pages(_MISSING):
        for producer, topic, id_, lane, seq, key, type_, created_at in page:
            if float(created_at or 0) < index.kept_since.get(str(topic), 0.0):
                continue
            directly = index.taken_directly.get(str(producer), [])
            if directly and int(seq or 0) <= directly[int(lane or 0)]:
                continue
            first = first_dead_letters.get(str(producer), 0)
            if int(lane or 0) == DEAD_LETTER_LANE and int(seq or 0) < first:
                continue
            yield {
                "producer": producer,
                "topic": topic,
                "message_id": id_,
                "type": type_,
                "lane": lane,
                "seq": seq,
                "key": key,
            }


def _first_dead_letters(books: Books) -> dict[str, int]:
    """Of services whose outbox nobody reads: the first of their dead letters that is in a topic.

    What came before may be of the time before Kafka, when no reader kept a position there.
    """
    index = _index(books)
    unread = {
        books.scope.consumer_id(name)
        for name, service in books.scope.services.items()
        if not service.publishes
    } & index.once_direct
    query = f"""
    SELECT producer, min(seq) FROM sent AS s WHERE lane = {DEAD_LETTER_LANE} AND EXISTS (
        SELECT 1 FROM found AS f WHERE f.id IN (s.id, s.cause) AND f.topic = s.topic
    ) GROUP BY producer
    """  # noqa: S608 - a constant
    found = {str(producer): int(seq or 0) for page in index.pages(query) for producer, seq in page}
    return {producer: found.get(producer, NONE_YET) for producer in unread}


async def nothing_else_is_there(books: Books) -> AsyncIterator[Found]:
    """I17: a record with a producer's name of ours has a row in that producer's outbox."""
    index = _index(books)
    for page in index.pages(_GHOSTS):
        for producer, topic, partition, offset, id_, key, made_at in page:
            horizon = index.horizons.get(str(producer))
            if horizon is None or float(made_at or 0) < horizon:
                continue
            yield {
                "producer": producer,
                "topic": topic,
                "partition": partition,
                "offset": offset,
                "message_id": id_,
                "key": key,
            }


async def in_version_order(books: Books) -> AsyncIterator[Found]:
    """I20 on a log: the first records of an aggregate's events stand in version order."""
    columns = ("topic", "aggregate", "key", "partition", "offset", "version", "before")
    for found in _rows(books, _OUT_OF_ORDER, columns):
        yield found


async def one_partition_a_key(books: Books) -> AsyncIterator[Found]:
    """I21 on a log: all records of a key stand in one partition of a topic (protocol C11)."""
    columns = ("topic", "key", "partitions", "one", "another")
    for found in _rows(books, _SCATTERED, columns):
        yield found


def _rows(books: Books, query: str, columns: tuple[str, ...]) -> Iterator[Found]:
    """Nothing without brokers: then the outboxes are the topics, and were looked at."""
    if books.topics is None:
        return
    for page in books.topics.pages(query):
        for row in page:
            yield dict(zip(columns, row, strict=True))


RULES = (
    Rule(
        id="I16",
        kind=Kind.QUIESCENT,
        title="what was sent is in the topic",
        needs=frozenset((Need.BROKER,)),
        compare=sent_is_there,
        look_at="waybill topics read {topic} --key {key}; waybill relay status",
    ),
    Rule(
        id="I17",
        kind=Kind.QUIESCENT,
        title="the topic holds nothing that was not sent",
        needs=frozenset((Need.BROKER,)),
        compare=nothing_else_is_there,
        look_at="waybill topics read {topic} --key {key}",
    ),
)

"""The outbox, which in direct mode is the log: complete, in order, and kept until it is read.

Only rows above the recorded horizon count (protocol A2): what retention dropped proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.lanes import DEAD_LETTER_LANE, lane_of
from waybill.operations.audit import relayed, topics
from waybill.operations.audit.partitions import without_holes
from waybill.operations.audit.rule import Books, Kind, Rule, one_after_another, statement
from waybill.operations.audit.scope import (
    ACCOUNTS,
    INVENTORY,
    NOTIFICATION,
    ORCHESTRATOR,
    ORDER,
    PAYMENT,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from waybill.operations.audit.rule import Found

MESSAGING = (ORDER, INVENTORY, PAYMENT, NOTIFICATION, ORCHESTRATOR, ACCOUNTS)
"""Databases with an outbox and an inbox."""

_EVENT_IDS = """
SELECT id AS event_id, count(*) AS rows, min(seq) AS first_seq, max(seq) AS last_seq,
       min(aggregateid) AS key
FROM messaging.outbox GROUP BY id HAVING count(*) > 1 ORDER BY id
"""

# Of an aggregate whose first events retention dropped, the rest must still be without a gap.
_GAPLESS = """
SELECT aggregatetype, aggregateid AS key, version, place + shift AS expected, seq FROM (
    SELECT aggregatetype, aggregateid, aggregate_version AS version, seq,
           row_number() OVER way AS place,
           CASE WHEN meta.whole THEN 0
                ELSE first_value(aggregate_version) OVER way - 1 END AS shift
    FROM messaging.outbox
    CROSS JOIN (SELECT coalesce(detaching, horizon) = 1 AS whole FROM messaging.outbox_meta) AS meta
    WHERE aggregate_version IS NOT NULL
    WINDOW way AS (PARTITION BY aggregatetype, aggregateid ORDER BY aggregate_version)
) AS numbered WHERE version <> place + shift ORDER BY key, version
"""

_IN_ORDER = """
SELECT aggregatetype, aggregateid AS key, lane, seq, aggregate_version AS version, before FROM (
    SELECT aggregatetype, aggregateid, lane, seq, aggregate_version,
           lag(aggregate_version) OVER (PARTITION BY aggregatetype, aggregateid ORDER BY seq)
               AS before
    FROM messaging.outbox WHERE aggregate_version IS NOT NULL
) AS numbered WHERE aggregate_version < before ORDER BY key, seq
"""

# The key stands in the value as the order's (or account's) id, as our codecs write it. A dead
# letter's record repeats the envelope of what came from a log, where strangers write as well.
_HEADERS = """
SELECT seq, lane, id AS event_id, type, topic, aggregateid AS key, producer, correlation_id
FROM messaging.outbox AS o
WHERE (lane = $1) <> (topic LIKE '%.DLT' OR topic LIKE '%.dlq')
   OR (lane <> $1 AND (topic <> ALL ($2::text[]) OR type <> ALL ($3::text[]) OR producer <> $4))
   OR headers NOT LIKE '{%}'
   OR ((aggregateid = '' OR correlation_id = '' OR version < 1) AND NOT (lane = $1 AND EXISTS (
       SELECT FROM messaging.dead_letters AS d
       WHERE d.message_id = o.causation_id AND d.source = d.topic AND d.key = o.aggregateid
         AND d.correlation_id = o.correlation_id AND d.version = o.version
   )))
   OR (aggregate_version IS NOT NULL
       AND position(convert_to($5 || aggregateid || '"', 'UTF8') IN payload) = 0)
ORDER BY seq
"""
_LANES = """
SELECT lane, aggregateid AS key, min(seq) AS seq FROM messaging.outbox WHERE lane <> $1
GROUP BY lane, aggregateid
"""


def _contract(books: Books, database: str) -> Iterable[object]:
    service = books.scope.services[database]
    events = tuple(each for topic in service.publishes for each in books.scope.topics[topic])
    types = books.scope.blueprint.wire_names(events)
    begins = f'"orderId":"{books.scope.blueprint.order_prefix}'
    if database == ACCOUNTS:
        begins = '"accountId":"'
    return [DEAD_LETTER_LANE, list(service.publishes), list(types), service.name, begins]


async def one_lane_a_key(books: Books, database: str) -> AsyncIterator[Found]:
    """Each key stands in the lane of its hash, so in one lane (protocol O4)."""
    async for row in books.stream(database, _LANES, DEAD_LETTER_LANE):
        expected = lane_of(row["key"])
        if row["lane"] != expected:
            yield {**dict(row), "expected_lane": expected}


_UNSENT = """
SELECT o.id AS message_id, o.type, o.lane, o.seq, l.position, o.aggregateid AS key
FROM messaging.outbox_lane AS l
JOIN messaging.outbox AS o ON o.lane = l.lane AND o.seq > l.position ORDER BY o.seq
"""
_OWN_POSITIONS = """
SELECT consumer, source, positions FROM messaging.consumer_source
WHERE positions IS NOT NULL ORDER BY consumer, source
"""


async def drained(books: Books) -> AsyncIterator[Found]:
    """I15: on a log everything is sent; in direct mode retention waits for every reader."""
    for database in books.scope.services:
        if await relayed.is_relayed(books.readings[database]):
            async for row in books.stream(database, _UNSENT):
                yield {"source": books.scope.consumer_id(database), "problem": "not sent", **row}
    async for found in retention_waits(books):
        yield found


async def retention_waits(books: Books) -> AsyncIterator[Found]:
    """I15 in direct mode (protocol D3, D5): a source knows each reader, and never too far on.

    What a source knew was read before the snapshots: a report follows the commit that it tells of.
    """
    routes = {
        (books.scope.consumer_id(route.consumer), books.scope.consumer_id(route.source))
        for route in books.scope.routes
    }
    relays = {
        books.scope.consumer_id(database)
        for database in books.scope.services
        if await relayed.is_relayed(books.readings[database])
    }
    for database in books.scope.services:
        async for row in books.stream(database, _OWN_POSITIONS):
            place = (row["consumer"], row["source"])
            if place not in routes or place[1] in relays:
                continue
            reported = books.reported.get(place)
            if reported is None:
                yield {
                    "consumer": place[0],
                    "source": place[1],
                    "problem": "is not registered: retention does not wait for it",
                }
                continue
            for lane, (own, told) in enumerate(zip(row["positions"], reported, strict=True)):
                if told > own:
                    yield {
                        "consumer": place[0],
                        "source": place[1],
                        "problem": "is reported further than it has read",
                        "lane": lane,
                        "position": own,
                        "reported": told,
                    }


_BY_SEQ = 'waybill psql {database} -c "SELECT * FROM messaging.outbox WHERE seq = {seq}"'
_BY_KEY = (
    'waybill psql {database} -c "SELECT lane, seq, id, type, aggregate_version FROM '
    "messaging.outbox WHERE aggregateid = '{key}' ORDER BY seq\""
)

RULES = (
    Rule(
        id="I15",
        looks=dict.fromkeys(MESSAGING, without_holes),
        kind=Kind.QUIESCENT,
        title="an outbox is sent to the log, or its retention waits for every reader",
        compare=drained,
        look_at="waybill consumers list; waybill relay status",
    ),
    Rule(
        id="I19",
        kind=Kind.ALWAYS,
        title="event ids are unique, an aggregate's versions have no gap",
        looks=dict.fromkeys(
            MESSAGING, one_after_another(statement(_EVENT_IDS), statement(_GAPLESS))
        ),
        look_at=_BY_KEY,
    ),
    Rule(
        id="I20",
        kind=Kind.QUIESCENT,
        title="an aggregate's events stand in version order",
        looks=dict.fromkeys(MESSAGING, statement(_IN_ORDER)),
        compare=topics.in_version_order,
        look_at=_BY_KEY,
    ),
    Rule(
        id="I21",
        kind=Kind.QUIESCENT,
        title="one lane a key, the key is the order's id, the envelope is complete",
        looks=dict.fromkeys(
            MESSAGING, one_after_another(statement(_HEADERS, _contract), one_lane_a_key)
        ),
        compare=topics.one_partition_a_key,
        look_at=_BY_SEQ,
    ),
)

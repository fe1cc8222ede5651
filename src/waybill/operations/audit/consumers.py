"""Consumers: every event reached each of its readers once, and had its effects once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.lanes import ALL_LANES
from waybill.operations.audit import relayed
from waybill.operations.audit.outbox import MESSAGING
from waybill.operations.audit.rule import Books, Kind, Rule, one_after_another, statement
from waybill.operations.audit.scope import INVENTORY, NOTIFICATION, ORCHESTRATOR, ORDER, PAYMENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from waybill.operations.audit.rule import Found, Look
    from waybill.operations.audit.scope import Route

PAGE_ROWS = 1_000
"""Messages asked about in one statement: few enough for an index to be the way."""

# What a consumer has passed of a source: above its start, up to its position (protocol D4).
_PASSED = """
SELECT o.id AS message_id, o.type, o.lane, o.seq, o.aggregateid AS key
FROM unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY AS p (start, position, place)
JOIN messaging.outbox o ON o.lane = p.place - 1 AND o.seq > p.start AND o.seq <= p.position
WHERE o.topic = $1 AND {type} AND {not_held}
""".replace("{not_held}", relayed.NOT_HELD)
_PASSED_ACTED_ON = _PASSED.replace("{type}", "o.type = ANY ($2::text[])")
_PASSED_SKIPPED = _PASSED.replace("{type}", "o.type <> ALL ($2::text[])")
_APPLIED = """
SELECT message_id FROM messaging.inbox WHERE consumer = $1 AND message_id = ANY ($2::uuid[])
"""
_POSITION = """
SELECT positions, start FROM messaging.consumer_source WHERE consumer = $1 AND source = $2
"""

_UNREAD = """
SELECT o.id AS message_id, o.type, o.lane, o.seq, p.position, o.aggregateid AS key
FROM unnest($1::bigint[]) WITH ORDINALITY AS p (position, place)
JOIN messaging.outbox AS o ON o.lane = p.place - 1 AND o.seq > p.position
WHERE o.topic = $2 AND o.type = ANY ($3::text[]) ORDER BY o.seq
"""
# An operator may have skipped to a number that no row of the lane has: then it began there.
_BEYOND = """
SELECT p.place - 1 AS lane, p.position, last.seq AS last_seq, drawn.last_value AS last_drawn
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS p (position, start, place)
CROSS JOIN messaging.outbox_seq AS drawn CROSS JOIN messaging.outbox_meta AS meta
CROSS JOIN LATERAL (
    SELECT coalesce(max(seq), 0) AS seq FROM messaging.outbox AS o WHERE o.lane = p.place - 1
) AS last
WHERE p.position > greatest(last.seq, coalesce(meta.detaching, meta.horizon) - 1,
                            CASE WHEN p.start <= drawn.last_value THEN p.start END)
ORDER BY lane
"""

_TWICE_IN_INBOX = """
SELECT consumer, message_id, count(*) AS rows FROM messaging.inbox
GROUP BY consumer, message_id HAVING count(*) > 1 ORDER BY message_id
"""

# One fact may walk several edges, each once, or none; and one message brought it.
_FACTS_TWICE = """
SELECT order_id, event, count(*) AS entries,
       string_agg(DISTINCT message_id::text, ', ') AS message_id
FROM app.order_timeline GROUP BY order_id, event
HAVING count(*) > 1 AND (count(*) > count(DISTINCT to_status)
    OR min(coalesce(message_id::text, '')) <> max(coalesce(message_id::text, '')))
ORDER BY order_id
"""
_MOVES_TWICE = """
SELECT message_id, product_id, count(*) AS moves, string_agg(kind, ', ') AS kinds,
       min(order_id::text) AS order_id
FROM app.stock_ledger WHERE message_id IS NOT NULL
GROUP BY message_id, product_id HAVING count(*) > 1 ORDER BY message_id
"""
_EVENTS_TWICE = """
SELECT causation_id AS message_id, type, count(*) AS events, min(aggregateid) AS key
FROM messaging.outbox WHERE causation_id IS NOT NULL AND lane < 16
GROUP BY causation_id, type HAVING count(*) > 1 ORDER BY causation_id
"""
_CALLS_TWICE = """
SELECT causation_id AS message_id, kind, count(*) AS deliveries, min(key) AS key
FROM messaging.deliveries WHERE causation_id IS NOT NULL
GROUP BY causation_id, kind HAVING count(*) > 1 ORDER BY causation_id
"""

# Protocol A2, D5: no inbox row is purged while it is younger than every source's horizon.
_EFFECTS = """
WITH kept AS (
    SELECT min(coalesce(horizon_at, '-infinity')) AS since FROM messaging.consumer_source
)
SELECT e.message_id, e.effect, e.key, e.at FROM ({effects}) AS e, kept
WHERE e.message_id IS NOT NULL AND e.at >= kept.since AND NOT EXISTS (
    SELECT FROM messaging.inbox AS i WHERE i.consumer = $1 AND i.message_id = e.message_id
)
ORDER BY e.at
"""
_EVENTS = """
SELECT causation_id AS message_id, type AS effect, aggregateid AS key, created_at AS at
FROM messaging.outbox WHERE lane < 16
"""
_STEPS = "SELECT message_id, event AS effect, order_id::text AS key, at FROM app.order_timeline"
_MOVES = "SELECT message_id, kind AS effect, order_id::text AS key, at FROM app.stock_ledger"
_CALLS = """
SELECT causation_id AS message_id, kind AS effect, key, created_at AS at FROM messaging.deliveries
"""


def _effects(*selects: str) -> Look:
    united = " UNION ALL ".join(selects)
    return statement(_EFFECTS.replace("{effects}", united), _consumer)


def _consumer(books: Books, database: str) -> Iterable[object]:
    return [books.scope.consumer_id(database)]


async def _place(books: Books, route: Route) -> tuple[list[int], list[int]]:
    """Where the consumer of a route stands, and where it began.

    On a log that is as far as the relay: once all is quiet, what was sent was taken.
    """
    consumer, source = (
        books.scope.consumer_id(route.consumer),
        books.scope.consumer_id(route.source),
    )
    rows = await books.readings[route.consumer].fetch(_POSITION, consumer, source)
    nothing = [0] * ALL_LANES
    if await relayed.is_relayed(books.readings[route.source]):
        start = list(rows[0]["start"] or nothing) if rows else nothing
        return await relayed.sent(books.readings[route.source]), start
    if not rows:
        return nothing, nothing
    return list(rows[0]["positions"] or nothing), list(rows[0]["start"] or nothing)


async def each_is_dealt_with(books: Books) -> AsyncIterator[Found]:
    """I22: what a consumer has passed and acts on is in its inbox or among its dead letters."""
    for route in books.scope.routes:
        async for message, is_known in _looked_up(
            books, route, _PASSED_ACTED_ON, relayed.DEALT_WITH
        ):
            if not is_known:
                yield message


async def skipped_left_nothing(books: Books) -> AsyncIterator[Found]:
    """I25: a type that the consumer skips has no inbox row."""
    for route in books.scope.routes:
        async for message, is_known in _looked_up(books, route, _PASSED_SKIPPED, _APPLIED):
            if is_known:
                yield message


async def _looked_up(
    books: Books, route: Route, passed: str, known: str
) -> AsyncIterator[tuple[Found, bool]]:
    """What a route's consumer has passed, and whether its database knows it; a page at a time."""
    positions, start = await _place(books, route)
    consumer = books.scope.consumer_id(route.consumer)
    place = {"database": route.consumer, "consumer": consumer, "source": route.source}
    messages = books.stream(route.source, passed, route.topic, list(route.types), start, positions)
    while page := [row async for row in _first(messages, PAGE_ROWS)]:
        ids = [row["message_id"] for row in page]
        rows = await books.readings[route.consumer].fetch(known, consumer, ids)
        found = {row["message_id"] for row in rows}
        for row in page:
            yield {**place, **dict(row)}, row["message_id"] in found


async def _first(rows: AsyncIterator[Found], count: int) -> AsyncIterator[Found]:
    for _ in range(count):
        row = await anext(rows, None)
        if row is None:
            return
        yield row


async def no_lag(books: Books) -> AsyncIterator[Found]:
    """I26: nothing is unread, and nobody stands beyond the log."""
    for route in books.scope.routes:
        positions, start = await _place(books, route)
        place = {"consumer": books.scope.consumer_id(route.consumer), "source": route.source}
        async for row in books.stream(
            route.source, _UNREAD, positions, route.topic, list(route.types)
        ):
            yield {**place, "problem": "unread", **dict(row)}
        async for row in books.stream(route.source, _BEYOND, positions, start):
            yield {**place, "problem": "beyond the log", **dict(row)}


_INBOX = (
    "waybill psql {database} -c \"SELECT * FROM messaging.inbox WHERE message_id = '{message_id}'\""
)
_MESSAGE = (
    "waybill psql {source} -c \"SELECT * FROM messaging.outbox WHERE id = '{message_id}'\"; "
    "waybill dead-letters show {message_id}"
)

RULES = (
    Rule(
        id="I22",
        kind=Kind.QUIESCENT,
        title="each routed event is processed or a dead letter",
        compare=each_is_dealt_with,
        look_at=_MESSAGE,
    ),
    Rule(
        id="I23",
        kind=Kind.ALWAYS,
        title="an inbox has each message once",
        looks=dict.fromkeys(MESSAGING, statement(_TWICE_IN_INBOX)),
        look_at=_INBOX,
    ),
    Rule(
        id="I24",
        kind=Kind.ALWAYS,
        title="each message has its effects once",
        looks={
            ORDER: one_after_another(
                statement(_FACTS_TWICE), statement(_EVENTS_TWICE), statement(_CALLS_TWICE)
            ),
            INVENTORY: one_after_another(statement(_MOVES_TWICE), statement(_EVENTS_TWICE)),
            PAYMENT: one_after_another(statement(_CALLS_TWICE), statement(_EVENTS_TWICE)),
            NOTIFICATION: statement(_CALLS_TWICE),
            ORCHESTRATOR: statement(_EVENTS_TWICE),
        },
        look_at=_INBOX,
    ),
    Rule(
        id="I25",
        kind=Kind.QUIESCENT,
        title="an effect has its inbox row, a skipped type has neither",
        looks={
            ORDER: _effects(_STEPS, _EVENTS, _CALLS),
            INVENTORY: _effects(_MOVES, _EVENTS),
            PAYMENT: _effects(_CALLS, _EVENTS),
            NOTIFICATION: _effects(_CALLS),
            ORCHESTRATOR: _effects(_EVENTS),
        },
        compare=skipped_left_nothing,
        look_at=_INBOX,
    ),
    Rule(
        id="I26",
        kind=Kind.QUIESCENT,
        title="no consumer lags, none stands beyond the log",
        compare=no_lag,
        look_at="waybill consumers list",
    ),
)

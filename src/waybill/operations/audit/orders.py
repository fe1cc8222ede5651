"""Orders: every one ends, along the edges of its blueprint, at the price of its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.operations.audit.merge import side_by_side
from waybill.operations.audit.rule import Books, Kind, Rule, one_after_another, statement
from waybill.operations.audit.scope import ORCHESTRATOR, ORDER, Need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from waybill.operations.audit.rule import Found

HEAL_SECONDS = 60
"""T of promise P1: so long after its deadline an order must have ended."""

_OPEN = """
SELECT id AS order_id, status, settled_at, created_at, not_after, asks FROM app.orders
WHERE (status <> ALL ($1::text[]) OR settled_at IS NULL) AND id::text <> ALL ($2::text[])
ORDER BY id
"""
_OVERDUE = f"""
SELECT id AS order_id, status, created_at, not_after, asks FROM app.orders
WHERE status <> ALL ($1::text[]) AND id::text <> ALL ($2::text[])
  AND not_after < now() - interval '{HEAL_SECONDS} seconds'
ORDER BY id
"""  # noqa: S608 - a constant

# What the orchestrator has heard of, whether the order came or not.
_OPEN_SAGAS = """
SELECT order_id, status, settled_at, created_at, ask_at, asks FROM app.sagas
WHERE (status <> ALL ($1::text[]) OR settled_at IS NULL) AND order_id::text <> ALL ($2::text[])
ORDER BY order_id
"""

_ORDERS = "SELECT id AS order_id, status FROM app.orders ORDER BY id"
_SAGAS = "SELECT order_id, status FROM app.sagas ORDER BY order_id"

# A fact that changed nothing has no `to_status`; its `from_status` is the status that stayed.
_EDGES = """
SELECT order_id, seq, event, from_status, to_status FROM app.order_timeline
WHERE CASE WHEN to_status IS NULL THEN from_status IS NULL
           ELSE coalesce(from_status, '') || ' > ' || to_status <> ALL ($1::text[]) END
ORDER BY order_id, seq
"""

_STEPS = """
SELECT order_id, seq, event, from_status, to_status, at,
       coalesce(to_status, from_status) AS status, row_number() OVER way AS place,
       lag(coalesce(to_status, from_status)) OVER way AS before,
       lead(seq) OVER way IS NULL AS is_last
FROM app.order_timeline WINDOW way AS (PARTITION BY order_id ORDER BY seq)
"""
_CHAIN = f"""
SELECT coalesce(o.id, s.order_id) AS order_id, s.seq, s.place AS expected_seq, s.event,
       s.from_status, s.before AS expected_from, s.to_status, o.status AS order_status
FROM ({_STEPS}) AS s FULL JOIN app.orders o ON o.id = s.order_id
WHERE o.id IS NULL OR s.order_id IS NULL OR s.seq <> s.place
   OR s.from_status IS DISTINCT FROM s.before
   OR (s.is_last AND (s.status <> o.status OR s.seq <> o.timeline_seq))
ORDER BY 1, 2
"""  # noqa: S608 - a constant

_AFTER_THE_END = """
SELECT order_id, seq, event, from_status, to_status FROM app.order_timeline
WHERE from_status = ANY ($1::text[]) AND to_status IS NOT NULL ORDER BY order_id, seq
"""
_ENDED_TWICE = """
SELECT order_id, count(*) AS endings, string_agg(to_status, ', ' ORDER BY seq) AS statuses
FROM app.order_timeline WHERE to_status = ANY ($1::text[])
GROUP BY order_id HAVING count(*) > 1 ORDER BY order_id
"""

_BACKWARDS = """
SELECT order_id, seq, event, at, before FROM (
    SELECT order_id, seq, event, at,
           lag(at) OVER (PARTITION BY order_id ORDER BY seq) AS before
    FROM app.order_timeline
) AS steps WHERE at < before ORDER BY order_id, seq
"""

# Numbers of JSON are NUMERIC in PostgreSQL: exact. What is no number has no sum.
_TOTALS = """
SELECT o.id AS order_id, o.total_amount AS total, sums.total AS sum_of_lines, o.lines::text AS lines
FROM app.orders o CROSS JOIN LATERAL (
    SELECT sum(line.quantity * line.price) AS total,
           bool_and(line.quantity >= 1 AND line.quantity = trunc(line.quantity)
                    AND line.price >= 0) AS sound
    FROM (
        SELECT CASE WHEN jsonb_typeof(each -> 'quantity') = 'number'
                    THEN (each ->> 'quantity')::numeric END AS quantity,
               CASE WHEN jsonb_typeof(each -> 'unitPrice') = 'number'
                    THEN (each ->> 'unitPrice')::numeric END AS price
        FROM jsonb_array_elements(
            CASE WHEN jsonb_typeof(o.lines) = 'array' THEN o.lines ELSE '[]' END
        ) AS each
    ) AS line
) AS sums
WHERE o.total_amount IS DISTINCT FROM sums.total OR sums.sound IS DISTINCT FROM true
ORDER BY o.id
"""


async def agrees_with_its_saga(books: Books) -> AsyncIterator[Found]:
    """I03: where an orchestrator decides (protocol M8), each order stands where its saga does.

    It may have heard of orders that are not here: strangers place orders by event.
    """
    if ORCHESTRATOR not in books.readings:
        return
    sagas = books.stream(ORCHESTRATOR, _SAGAS)
    async for order, saga in side_by_side(books.stream(ORDER, _ORDERS), sagas, ("order_id",)):
        if order is None or str(order["order_id"]) in books.waiting:
            continue
        decided = saga["status"] if saga else None
        if order["status"] != decided:
            yield {"database": ORDER, **order, "saga": decided}


def _terminal(books: Books, _database: str) -> Iterable[object]:
    return [books.scope.terminal]


def _terminal_and_waiting(books: Books, _database: str) -> Iterable[object]:
    return [books.scope.ended, sorted(books.waiting)]


def _edges(books: Books, _database: str) -> Iterable[object]:
    return [[f"{here or ''} > {there}" for here, there in books.scope.edges]]


_TIMELINE = (
    "waybill psql order -c \"SELECT * FROM app.order_timeline WHERE order_id = '{order_id}' "
    'ORDER BY seq"'
)
_ROW = "waybill psql order -c \"SELECT * FROM app.orders WHERE id = '{order_id}'\"; " + _TIMELINE  # noqa: S608 - a command to show

RULES = (
    Rule(
        id="I03",
        kind=Kind.QUIESCENT,
        title="every order has ended and is settled, as its saga, unless it waits for an operator",
        looks={
            ORDER: statement(_OPEN, _terminal_and_waiting),
            ORCHESTRATOR: statement(_OPEN_SAGAS, _terminal_and_waiting),
        },
        compare=agrees_with_its_saga,
        look_at=_ROW,
    ),
    Rule(
        id="I04",
        kind=Kind.QUIESCENT,
        title=f"no order is open {HEAL_SECONDS} s after its deadline",
        needs=frozenset((Need.DEADLINE,)),
        looks={ORDER: statement(_OVERDUE, _terminal_and_waiting)},
        look_at=_ROW,
    ),
    Rule(
        id="I05",
        kind=Kind.ALWAYS,
        title="timeline steps are edges of the state machine",
        looks={ORDER: statement(_EDGES, _edges)},
        look_at=_TIMELINE,
    ),
    Rule(
        id="I06",
        kind=Kind.ALWAYS,
        title="timelines are gapless, chained, and end in the order's status",
        looks={ORDER: statement(_CHAIN)},
        look_at=_ROW,
    ),
    Rule(
        id="I07",
        kind=Kind.ALWAYS,
        title="a terminal status is entered once and never left",
        looks={
            ORDER: one_after_another(
                statement(_AFTER_THE_END, _terminal), statement(_ENDED_TWICE, _terminal)
            )
        },
        look_at=_TIMELINE,
    ),
    Rule(
        id="I08",
        kind=Kind.ALWAYS,
        title="timelines never go back in time",
        looks={ORDER: statement(_BACKWARDS)},
        look_at=_TIMELINE,
    ),
    Rule(
        id="I09",
        kind=Kind.ALWAYS,
        title="an order's total is the exact sum of quantity times price",
        needs=frozenset((Need.TOTAL,)),
        looks={ORDER: statement(_TOTALS)},
        look_at=_ROW,
    ),
)

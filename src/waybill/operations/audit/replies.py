"""Replies: what clients were told is so. Needs their history; it knows what left the building."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from waybill.operations.audit.rule import Books, Kind, Rule
from waybill.operations.audit.scope import ORDER, Need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from waybill.operations.audit.history_index import HistoryIndex, Rows
    from waybill.operations.audit.rule import Found

_ACCEPTED = """
SELECT DISTINCT order_id, customer_id, scope, key, status FROM placed WHERE outcome = 'ok'
"""
_REFUSED = """
SELECT scope, key, group_concat(DISTINCT coalesce(status, 'none')) FROM placed
WHERE key IS NOT NULL GROUP BY scope, key HAVING sum(outcome <> 'fail') = 0
"""
_DIFFERENT = """
SELECT scope, key, count(DISTINCT order_id), count(DISTINCT body_hash),
       count(DISTINCT payload_hash), min(order_id), max(order_id)
FROM placed WHERE outcome = 'ok' AND key IS NOT NULL GROUP BY scope, key
HAVING count(DISTINCT order_id) > 1 OR count(DISTINCT payload_hash) > 1
    OR count(DISTINCT CASE WHEN status = 202 THEN body_hash END) > 1
    OR count(DISTINCT CASE WHEN status <> 202 THEN body_hash END) > 1
"""
# 202 says that the answer is not there yet: a replay is told so while the first one waits (M9).

_ORDERS = "SELECT id, customer_id FROM app.orders WHERE id = ANY ($1::uuid[])"
_ROUTES = "SELECT DISTINCT route FROM app.idempotency_keys"
_KEYS = """
SELECT k.scope, k.key, k.order_id
FROM unnest($1::text[], $2::text[]) AS asked (scope, key) CROSS JOIN unnest($3::text[]) AS r (route)
JOIN app.idempotency_keys AS k
    ON (k.scope, k.route, k.key) = (asked.scope, r.route, asked.key)
WHERE NOT EXISTS (SELECT FROM app.orders AS o WHERE o.id = k.order_id AND o.answer >= 400)
"""
# An order whose own answer is a refusal (402: placed, and not paid for) is what was told.


def _pages(books: Books, query: str) -> Iterator[Rows]:
    index: HistoryIndex | None = books.history
    if index is None:
        raise AssertionError("a rule of kind H runs with a history only")
    return index.pages(query)


async def accepted_exists(books: Books) -> AsyncIterator[Found]:
    """I01: an order that a client was told of exists."""
    for page in _pages(books, _ACCEPTED):
        known = await _customers(books, [order_id for order_id, *_ in page])
        for order_id, _, scope, key, status in page:
            if order_id not in known:
                yield {"order_id": order_id, "scope": scope, "key": key, "status": status}


async def refused_left_nothing(books: Books) -> AsyncIterator[Found]:
    """I02: a key that was only ever refused placed no order."""
    routes = [row["route"] for row in await books.readings[ORDER].fetch(_ROUTES)]
    for page in _pages(books, _REFUSED):
        told = {(scope, key): statuses for scope, key, statuses in page}
        scopes, keys = [scope for scope, _ in told], [key for _, key in told]
        for row in await books.readings[ORDER].fetch(_KEYS, scopes, keys, routes):
            statuses = told[row["scope"], row["key"]]
            yield {"order_id": row["order_id"], "key": row["key"], "statuses": statuses}


async def one_key_one_answer(books: Books) -> AsyncIterator[Found]:
    """I11: all 2xx answers to one key name one order, with one body, for one payload.

    But for 202 beside another: those are the same among themselves.
    """
    for page in _pages(books, _DIFFERENT):
        for scope, key, orders, bodies, payloads, one, other in page:
            yield {
                "scope": scope,
                "key": key,
                "orders": orders,
                "bodies": bodies,
                "payloads": payloads,
                "order_id": one,
                "other_order_id": other,
            }


async def own_orders_only(books: Books) -> AsyncIterator[Found]:
    """I12: nobody was told of another customer's order."""
    for page in _pages(books, _ACCEPTED):
        known = await _customers(books, [order_id for order_id, *_ in page])
        for order_id, customer_id, scope, key, _ in page:
            owner = known.get(order_id)
            if owner is not None and customer_id is not None and owner != customer_id.lower():
                yield {
                    "order_id": order_id,
                    "asked_by": customer_id,
                    "belongs_to": owner,
                    "scope": scope,
                    "key": key,
                }


async def _customers(books: Books, order_ids: Iterable[str | None]) -> dict[str | None, str]:
    """The customers of those of these orders that exist, by the orders' ids as they were told."""
    told = {parsed: text for text in order_ids if (parsed := _uuid(text)) is not None}
    rows = await books.readings[ORDER].fetch(_ORDERS, list(told))
    return {told[row["id"]]: str(row["customer_id"]) for row in rows}


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


_HISTORY = frozenset((Need.HISTORY,))
_LINES = "the history's lines with the key {key}, and "
_ROW = "waybill psql order -c \"SELECT * FROM app.orders WHERE id = '{order_id}'\""

RULES = (
    Rule(
        id="I01",
        kind=Kind.HISTORY,
        title="an accepted order exists",
        needs=_HISTORY,
        compare=accepted_exists,
        look_at=_LINES + _ROW,
    ),
    Rule(
        id="I02",
        kind=Kind.HISTORY,
        title="a refused request left no order",
        needs=_HISTORY,
        compare=refused_left_nothing,
        look_at=_LINES + _ROW,
    ),
    Rule(
        id="I11",
        kind=Kind.HISTORY,
        title="all 2xx answers to one key are the same",
        needs=_HISTORY,
        compare=one_key_one_answer,
        look_at=_LINES + _ROW,
    ),
    Rule(
        id="I12",
        kind=Kind.HISTORY,
        title="no answer names another customer's order",
        needs=_HISTORY,
        compare=own_orders_only,
        look_at=_LINES + _ROW,
    ),
)

"""Idempotency keys: one key of one caller is one order, and each knows the other."""

from __future__ import annotations

from waybill.operations.audit.rule import Kind, Rule, statement
from waybill.operations.audit.scope import ORDER, Need

_ONE_ORDER = """
SELECT scope, route, idempotency_key AS key, count(*) AS orders,
       string_agg(id::text, ', ' ORDER BY id) AS order_ids
FROM app.orders GROUP BY scope, route, idempotency_key HAVING count(*) > 1
ORDER BY scope, route, idempotency_key
"""

_BOTH_WAYS = """
SELECT 'key without its order' AS problem, k.scope, k.route, k.key, k.order_id
FROM app.idempotency_keys k WHERE NOT EXISTS (
    SELECT FROM app.orders o WHERE o.id = k.order_id
       AND (o.scope, o.route, o.idempotency_key) = (k.scope, k.route, k.key)
)
UNION ALL
SELECT 'order without its key', o.scope, o.route, o.idempotency_key, o.id
FROM app.orders o WHERE o.idempotency_key IS NOT NULL AND NOT EXISTS (
    SELECT FROM app.idempotency_keys k WHERE k.order_id = o.id
       AND (k.scope, k.route, k.key) = (o.scope, o.route, o.idempotency_key)
)
ORDER BY 1, 5
"""

_KEY = "waybill psql order -c \"SELECT * FROM app.idempotency_keys WHERE key = '{key}'\""

RULES = (
    Rule(
        id="I10",
        kind=Kind.ALWAYS,
        title="one key of one caller placed at most one order",
        looks={ORDER: statement(_ONE_ORDER)},
        look_at=_KEY,
    ),
    Rule(
        id="I13",
        kind=Kind.ALWAYS,
        title="no key is left in progress",
        needs=frozenset((Need.IN_PROGRESS,)),
    ),
    Rule(
        id="I14",
        kind=Kind.ALWAYS,
        title="a key record has its order, an order its key record",
        looks={ORDER: statement(_BOTH_WAYS)},
        look_at=_KEY,
    ),
)

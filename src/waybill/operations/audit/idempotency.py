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

# Key and order are one row; what may be wrong is what the key stands for.
_BOTH_WAYS = """
SELECT problem, scope, route, idempotency_key AS key, id AS order_id
FROM app.orders CROSS JOIN LATERAL (
    SELECT CASE WHEN idempotency_key = '' OR request_hash = '' THEN 'order without its key'
                WHEN position(convert_to(id::text, 'UTF8') IN response) = 0
                THEN 'key whose answer is not its order' END AS problem
) AS found
WHERE problem IS NOT NULL ORDER BY problem, id
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

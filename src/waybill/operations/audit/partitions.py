"""The outbox's partitions: from the recorded horizon on there is one for every number (I15).

Only whole partitions can be judged so. A number without a row is no hole: numbers come from a
sequence, and a unit that was rolled back keeps the ones it drew (protocol O1). A row that is gone
shows where its aggregate's versions have a gap (I19), or where its change was not told (I18).
"""

from __future__ import annotations

from waybill.operations.audit.rule import statement

# A partition that is being dropped counts as gone once the drop was announced (protocol O6).
_HOLES = """
WITH kept AS (
    SELECT c.relname::text AS partition, bound[1]::bigint AS lower, bound[2]::bigint AS upper
    FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(
        pg_get_expr(c.relpartbound, c.oid), $$FROM \\('?(\\d+)'?\\) TO \\('?(\\d+)'?\\)$$
    ) AS bound
    WHERE i.inhparent = 'messaging.outbox'::regclass AND NOT i.inhdetachpending
), placed AS (
    SELECT partition, lower, greatest(coalesce(meta.detaching, meta.horizon),
                                      lag(upper) OVER (ORDER BY lower)) AS expected
    FROM kept CROSS JOIN messaging.outbox_meta AS meta
)
SELECT expected AS missing_from, lower - 1 AS missing_to, partition AS next_partition
FROM placed WHERE lower > expected
UNION ALL
SELECT coalesce(detaching, horizon), NULL, NULL FROM messaging.outbox_meta
WHERE NOT EXISTS (SELECT FROM kept)
ORDER BY 1
"""

without_holes = statement(_HOLES)

"""What readers and relays ask of an outbox on PostgreSQL: pages of rows above positions."""

from __future__ import annotations

# Value and headers travel only for the topics that the reader wants (protocol D2), and values only
# until they fill a batch; the row that does so is the last one. A timestamp outside Python's years
# would make the driver raise for ever. `place` makes the planner use the order that unnest already
# has: what is left to sort is one lane's rows, never a backlog.
_PAGE = """
SELECT lane, seq, id, topic, type, aggregateid, version, aggregatetype, aggregate_version,
       correlation_id, causation_id, traceparent, producer,
       CASE WHEN occurred_at >= '0001-01-02Z' AND occurred_at < '9999-12-31Z'
            THEN occurred_at END AS occurred_at,
       CASE WHEN is_wanted THEN headers END AS headers,
       CASE WHEN shipped IS NOT NULL THEN payload END AS payload
FROM (
    SELECT *, sum(shipped) OVER (
        ORDER BY place, seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS shipped_before
    FROM (
        SELECT o.*, p.place, {wanted} AS is_wanted,
               CASE WHEN {wanted} AND octet_length(o.payload) <= $5::integer
                    THEN octet_length(o.payload) END AS shipped
        FROM unnest($1::smallint[], $2::bigint[]) WITH ORDINALITY AS p (lane, position, place)
        CROSS JOIN LATERAL (
            SELECT * FROM messaging.outbox AS r
            WHERE r.lane = p.lane AND r.seq > p.position
            ORDER BY r.seq LIMIT $4
        ) AS o
        ORDER BY p.place, o.seq LIMIT $4
    ) AS page
) AS measured
WHERE coalesce(shipped_before, 0) < $6::bigint
"""
FETCH = _PAGE.format(wanted="o.topic = ANY($3::text[])")

PAGE = _PAGE.format(wanted="$3::boolean")
"""For a relay, which wants every topic (and passes true)."""

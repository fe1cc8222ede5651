"""Dead letters: complete, told to their topic, and true to their verdict."""

from __future__ import annotations

from waybill.operations.audit.outbox import MESSAGING
from waybill.operations.audit.rule import Kind, Rule, one_after_another, statement

# Protocol C4: what waits or was discarded left no inbox row, or its redrive would be swallowed.
_VERDICTS = """
WITH kept AS (
    SELECT min(coalesce(horizon_at, '-infinity')) AS since FROM messaging.consumer_source
)
SELECT d.consumer, d.message_id, d.type, d.key, d.verdict,
       i.message_id IS NOT NULL AS is_in_inbox, d.verdict_at
FROM messaging.dead_letters AS d CROSS JOIN kept
LEFT JOIN messaging.inbox AS i ON i.consumer = d.consumer AND i.message_id = d.message_id
WHERE CASE WHEN d.verdict = 'REDRIVEN'
           THEN i.message_id IS NULL AND coalesce(d.verdict_at, d.created_at) >= kept.since
           ELSE i.message_id IS NOT NULL END
ORDER BY d.created_at
"""

# A log counts from 0 and may have more partitions than an outbox has lanes.
_COMPLETE = """
SELECT id, consumer, message_id, source, topic, lane, seq, key, type, error_type, verdict,
       verdict_by, verdict_reason
FROM messaging.dead_letters
WHERE coalesce(consumer, '') = '' OR coalesce(source, '') = '' OR coalesce(topic, '') = ''
   OR coalesce(type, '') = '' OR coalesce(error_type, '') = '' OR message_id IS NULL
   OR key IS NULL OR value IS NULL OR error_message IS NULL OR stacktrace IS NULL
   OR occurred_at IS NULL
   OR coalesce(lane >= 0 AND (lane <= 16 OR source = topic), false) IS FALSE
   OR coalesce(seq >= 1 OR (seq = 0 AND source = topic), false) IS FALSE
   OR coalesce(headers LIKE '{%}', false) IS FALSE
   OR (verdict <> 'OPEN' AND (verdict_at IS NULL OR coalesce(verdict_by, '') = ''
                              OR coalesce(verdict_reason, '') = ''))
ORDER BY created_at
"""

# Protocol C5: the record is made in the transaction that makes the letter.
_TOLD = """
SELECT d.id, d.consumer, d.message_id, d.topic, d.key, d.created_at,
       'has no record on its dead letter topic' AS problem
FROM messaging.dead_letters AS d CROSS JOIN messaging.outbox_meta AS meta
WHERE (coalesce(meta.detaching, meta.horizon) = 1
       OR d.created_at > meta.horizon_at + interval '1 minute')
  AND NOT EXISTS (
    SELECT FROM messaging.outbox AS o
    WHERE o.lane = 16 AND o.causation_id = d.message_id
      AND o.topic IN (d.topic || '.DLT', d.topic || '.dlq')
      AND o.headers LIKE '%kafka_dlt-original-topic%'
      AND o.headers LIKE '%kafka_dlt-original-consumer-group%'
      AND o.headers LIKE '%kafka_dlt-exception-fqcn%'
)
ORDER BY d.created_at
"""

_SHOW = "waybill dead-letters show {message_id}"

RULES = (
    Rule(
        id="I27",
        kind=Kind.QUIESCENT,
        title="a redriven dead letter was applied, an open or discarded one was not",
        looks=dict.fromkeys(MESSAGING, statement(_VERDICTS)),
        look_at=_SHOW,
    ),
    Rule(
        id="I28",
        kind=Kind.ALWAYS,
        title="a dead letter is complete, and told to its topic",
        looks=dict.fromkeys(MESSAGING, one_after_another(statement(_COMPLETE), statement(_TOLD))),
        look_at=_SHOW,
    ),
)

"""One row an order: its timeline and its idempotency key stand in it, under their old names too.

What an order is made of is not updatable for the run-time role; only what its facts change is.
"""

from waybill.commerce.migrations import documented

revision = "order_0002"
down_revision = "order_0001"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE app.orders ADD COLUMN timeline jsonb, ADD COLUMN request_hash varchar(64),
    ADD COLUMN response bytea
"""

CARRIED = """
UPDATE app.orders o SET timeline = coalesce(t.entries, '[]'),
    request_hash = coalesce(k.request_hash, ''), response = coalesce(k.response, '')
FROM app.orders self LEFT JOIN app.idempotency_keys k
    ON (k.scope, k.route, k.key) = (self.scope, self.route, self.idempotency_key)
LEFT JOIN (
    SELECT order_id, jsonb_agg(jsonb_strip_nulls(to_jsonb(e) - 'order_id') ORDER BY seq) AS entries
    FROM app.order_timeline e GROUP BY order_id
) AS t ON t.order_id = self.id
WHERE o.id = self.id
"""

COMPLETE = """
ALTER TABLE app.orders ALTER COLUMN timeline SET NOT NULL,
    ALTER COLUMN request_hash SET NOT NULL, ALTER COLUMN response SET NOT NULL,
    ADD CONSTRAINT orders_key UNIQUE (scope, route, idempotency_key)
"""

TIMELINE = """
CREATE VIEW app.order_timeline AS
SELECT o.id AS order_id, e.seq, e.event, e.from_status, e.to_status, e.at, e.message_id, e.detail
FROM app.orders o CROSS JOIN LATERAL jsonb_to_recordset(o.timeline) AS e (
    seq int, event text, from_status text, to_status text, at timestamptz, message_id uuid,
    detail text
)
"""

KEYS = """
CREATE VIEW app.idempotency_keys AS
SELECT scope, route, idempotency_key AS key, id AS order_id, request_hash, response, created_at
FROM app.orders
"""

KEYS_VIEW = """
CREATE VIEW public.idempotency_keys AS
SELECT key, order_id, request_hash, app.json_or_null(response) AS response_body, created_at
FROM app.idempotency_keys
"""

CHANGING = (
    "status",
    "facts",
    "reason",
    "detail",
    "payment_id",
    "version",
    "timeline_seq",
    "timeline",
    "ask_at",
    "asks",
    "settled_at",
    "updated_at",
)


def upgrade() -> None:
    """Carry timelines and keys over, then drop their tables; views keep the names."""
    documented.run(
        [
            COLUMNS,
            CARRIED,
            COMPLETE,
            "DROP VIEW public.idempotency_keys",
            "DROP TABLE app.order_timeline, app.idempotency_keys",
            TIMELINE,
            KEYS,
            KEYS_VIEW,
            documented.OUTBOX_EVENTS,
        ]
    )
    documented.grant(changing=[])
    documented.restrict("orders", CHANGING)

"""Seed 004's documented tables of orders, as views."""

from waybill.commerce.migrations import documented

revision = "order_0005"
down_revision = "order_0004"
branch_labels = None
depends_on = None

ORDERS = """
CREATE VIEW orchestration.orders AS
SELECT id, particulars ->> 'userId' AS user_id, status, total_amount AS total, currency,
       created_at, updated_at
FROM app.orders
"""

ITEMS = """
CREATE VIEW orchestration.order_items AS
SELECT o.id AS order_id, o.particulars -> 'skus' ->> (line.ordinal::int - 1) AS sku,
       (line.value ->> 'quantity')::int AS qty,
       (line.value ->> 'unitPrice')::numeric(12,2) AS price
FROM app.orders o
CROSS JOIN LATERAL jsonb_array_elements(o.lines) WITH ORDINALITY AS line (value, ordinal)
"""

# When a row was published is not kept: rows of an outbox are never updated (C16).
OUTBOX = """
CREATE VIEW orchestration.outbox AS
SELECT o.id, o.aggregateid AS aggregate_id, o.type AS event_type,
       app.json_or_null(o.payload) AS payload, o.created_at, e.published
FROM messaging.outbox o JOIN public.outbox_events e ON e.id = o.id
WHERE o.lane < 16
"""


def upgrade() -> None:
    """Views, and who may read them."""
    documented.run(["CREATE SCHEMA IF NOT EXISTS orchestration", ORDERS, ITEMS, OUTBOX])
    documented.grant_documents("orchestration")

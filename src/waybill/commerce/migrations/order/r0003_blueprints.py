"""What blueprints need: statuses, what they keep of a request, seed 001's documented tables."""

from waybill.commerce.migrations import documented

revision = "order_0003"
down_revision = "order_0002"
branch_labels = None
depends_on = None

# Which statuses there are, and in what order, is the blueprint's process; the audit holds it (I05).
STATUS = """
ALTER TABLE app.orders DROP CONSTRAINT orders_status_known, ADD CONSTRAINT orders_status_known
    CHECK (status ~ '^[A-Z][A-Z_]{0,31}$'), ADD COLUMN particulars jsonb
"""

ORDERS = """
CREATE VIEW reservation.orders AS
SELECT id, particulars ->> 'customerEmail' AS customer_email, status, total_amount, created_at,
       updated_at, encode(sha256(convert_to(idempotency_key, 'UTF8')), 'hex') AS key_hash
FROM app.orders
"""

ITEMS = """
CREATE VIEW reservation.order_items AS
SELECT md5(o.id || ':' || line.ordinal)::uuid AS id, o.id AS order_id,
       o.particulars -> 'skus' ->> (line.ordinal::int - 1) AS sku,
       (line.value ->> 'unitPrice')::numeric(12,2) AS unit_price,
       (line.value ->> 'quantity')::int AS quantity
FROM app.orders o
CROSS JOIN LATERAL jsonb_array_elements(o.lines) WITH ORDINALITY AS line (value, ordinal)
"""


def upgrade() -> None:
    """A column, a looser check, views."""
    documented.run(
        [
            STATUS,
            "CREATE SCHEMA IF NOT EXISTS reservation",
            ORDERS,
            ITEMS,
            documented.OUTBOX_OF_SEED_001,
        ]
    )
    documented.grant(changing=[])
    documented.restrict("orders", CHANGING)
    documented.grant_documents("reservation")


CHANGING = (
    *("status", "facts", "reason", "detail", "payment_id", "version", "timeline_seq", "timeline"),
    *("ask_at", "asks", "settled_at", "updated_at"),
)

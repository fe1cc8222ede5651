"""What a blueprint needs that keeps stock beside its orders, and seed 000's documented tables.

The tables of stock are inventory's; they stay empty where inventory is a service of its own.
"""

from waybill.commerce.migrations import documented
from waybill.commerce.migrations.inventory import r0001_stock as stock
from waybill.commerce.migrations.inventory import r0002_one_row as one_row

revision = "order_0004"
down_revision = "order_0003"
branch_labels = None
depends_on = None

# A document without prices has orders of nothing.
TOTAL = """
ALTER TABLE app.orders DROP CONSTRAINT orders_total_in_range, ADD CONSTRAINT orders_total_in_range
    CHECK (total_amount >= 0 AND total_amount <= 9999999999.99)
"""

ADJUSTMENTS = """
CREATE TABLE app.stock_adjustments (
    product_id uuid NOT NULL,
    kind text NOT NULL CONSTRAINT stock_adjustments_kind_known
        CHECK (kind IN ('initial', 'adjust')),
    d_available bigint NOT NULL,
    at timestamptz NOT NULL
)
"""

# The id of anything that the document numbers is that number.
NUMBER = """
CREATE FUNCTION notify.number(id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || right(replace(id::text, '-', ''), 16))::bit(64)::bigint
$$
"""

PRODUCT = """
CREATE VIEW notify.product AS
SELECT notify.number(id) AS id, name, available AS stock FROM app.products
"""

ORDERS = """
CREATE VIEW notify.customer_order AS
SELECT o.id, notify.number(o.customer_id) AS user_id, ARRAY(
           SELECT notify.number((line.value ->> 'productId')::uuid)
           FROM jsonb_array_elements(o.lines) WITH ORDINALITY AS line (value, ordinal)
           ORDER BY line.ordinal
       ) AS product_ids, o.status, o.created_at
FROM app.orders o
"""

ORDER_PRODUCTS = """
CREATE VIEW notify.order_product AS
SELECT o.id AS order_id, notify.number((line ->> 'productId')::uuid) AS product_id
FROM app.orders o CROSS JOIN LATERAL jsonb_array_elements(o.lines) AS line
"""

# A notification that is parked is NOTIFY_FAILED until the periodic retry takes it up again.
NOTIFICATIONS = """
CREATE VIEW notify.notification AS
SELECT causation_id AS event_id, split_part(key, ':', 1) AS order_id,
       CASE state WHEN 'DELIVERED' THEN 'NOTIFY_SUCCESS' WHEN 'PENDING' THEN 'PENDING'
                  ELSE 'NOTIFY_FAILED' END AS status,
       attempts, reason, created_at, settled_at
FROM messaging.deliveries WHERE kind = 'notify'
"""

# `processed`: whoever reads the topic has it; a notification: the other side has it.
OUTBOX = """
CREATE VIEW notify.outbox_event AS
SELECT o.id, o.event_type::varchar(50) AS event_type, o.payload::text AS payload,
       o.published AS processed, o.created_at
FROM public.outbox_events o
UNION ALL
SELECT d.id, CASE d.state WHEN 'DELIVERED' THEN 'NOTIFY_SUCCESS' ELSE 'NOTIFY_FAILED' END,
       app.json_or_null(d.request)::text, d.state = 'DELIVERED',
       coalesce(d.settled_at, d.created_at)
FROM messaging.deliveries d WHERE d.kind = 'notify' AND d.state <> 'PENDING'
"""


def upgrade() -> None:
    """Inventory's tables as they are today, a looser check, views."""
    documented.run(
        [
            TOTAL,
            stock.PRODUCTS,
            stock.RESERVATIONS,
            one_row.COLUMN,
            one_row.COMPLETE,
            ADJUSTMENTS,
            one_row.LEDGER,
            "CREATE SCHEMA IF NOT EXISTS notify",
            NUMBER,
            PRODUCT,
            ORDERS,
            ORDER_PRODUCTS,
            NOTIFICATIONS,
            OUTBOX,
        ]
    )
    documented.grant(changing=["products", "reservations"], appending=["stock_adjustments"])
    documented.restrict("reservations", ("status", "version", "moves", "updated_at"))
    documented.grant_documents("notify")

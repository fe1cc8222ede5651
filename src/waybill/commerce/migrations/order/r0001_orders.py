"""Orders with their facts and lines in one row, their timeline, and the idempotency keys.

No index names a column that changes on the way to CONFIRMED before the order settles, so that
those updates stay inside their page.
"""

from waybill.commerce.migrations import documented

revision = "order_0001"
down_revision = None
branch_labels = None
depends_on = None

ORDERS = """
CREATE TABLE app.orders (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    currency varchar(3) NOT NULL,
    total_amount numeric(12,2) NOT NULL
        CONSTRAINT orders_total_in_range CHECK (total_amount > 0 AND total_amount <= 9999999999.99),
    lines jsonb NOT NULL,
    status text NOT NULL CONSTRAINT orders_status_known
        CHECK (status IN ('PENDING', 'STOCK_RESERVED', 'CONFIRMED', 'CANCELLED')),
    facts text[] NOT NULL DEFAULT '{}',
    reason text,
    detail text,
    payment_id uuid,
    version bigint NOT NULL,
    timeline_seq int NOT NULL,
    not_after timestamptz NOT NULL,
    ask_at timestamptz NOT NULL,
    asks int NOT NULL DEFAULT 0,
    settled_at timestamptz,
    scope text NOT NULL,
    route text NOT NULL,
    idempotency_key varchar(64) NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70)
"""

TIMELINE = """
CREATE TABLE app.order_timeline (
    order_id uuid NOT NULL,
    seq int NOT NULL,
    event text NOT NULL,
    from_status text,
    to_status text,
    at timestamptz NOT NULL,
    message_id uuid,
    detail text,
    PRIMARY KEY (order_id, seq)
)
"""

# No foreign key to orders: its check would lock every order's row once more at the intake; the
# same flush writes both, and the audit compares them (I14).
KEYS = """
CREATE TABLE app.idempotency_keys (
    scope text NOT NULL,
    route text NOT NULL,
    key varchar(64) NOT NULL,
    order_id uuid NOT NULL,
    request_hash varchar(64) NOT NULL,
    response bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (scope, route, key)
)
"""

ORDERS_VIEW = """
CREATE VIEW public.orders AS
SELECT id, customer_id, status::varchar(32) AS status, total_amount, currency, idempotency_key,
       created_at, updated_at, version
FROM app.orders
"""

ITEMS_VIEW = """
CREATE VIEW public.order_items AS
SELECT md5(o.id || ':' || line.ordinal)::uuid AS id, o.id AS order_id,
       (line.value ->> 'productId')::uuid AS product_id,
       (line.value ->> 'quantity')::int AS quantity,
       (line.value ->> 'unitPrice')::numeric(12,2) AS unit_price
FROM app.orders o
CROSS JOIN LATERAL jsonb_array_elements(o.lines) WITH ORDINALITY AS line (value, ordinal)
"""

KEYS_VIEW = """
CREATE VIEW public.idempotency_keys AS
SELECT key, order_id, request_hash, app.json_or_null(response) AS response_body, created_at
FROM app.idempotency_keys
"""


def upgrade() -> None:
    """Tables, the indexes of the list and of the deadline job, documented views, grants."""
    documented.run(
        [
            ORDERS,
            TIMELINE,
            KEYS,
            "CREATE INDEX orders_by_customer ON app.orders (customer_id, id)",
            "CREATE INDEX orders_open ON app.orders (ask_at) WHERE settled_at IS NULL",
            "CREATE INDEX orders_failed ON app.orders (id) WHERE reason IS NOT NULL",
            documented.JSON_OR_NULL,
            documented.UUID_OR_NULL,
            ORDERS_VIEW,
            ITEMS_VIEW,
            KEYS_VIEW,
            documented.OUTBOX_EVENTS,
            documented.PROCESSED_EVENTS,
        ]
    )
    documented.grant(changing=["orders"], appending=["order_timeline", "idempotency_keys"])

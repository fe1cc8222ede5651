"""Products, the ledger that explains every unit of them, and one reservation an order.

Five products are seeded, each with the ledger row that brought it (R109).
"""

from waybill.commerce.migrations import documented

revision = "inventory_0001"
down_revision = None
branch_labels = None
depends_on = None

# The API takes at most 10^9 of a product; what is released again must always fit on top of that.
PRODUCTS = """
CREATE TABLE app.products (
    id uuid PRIMARY KEY,
    name varchar(255) NOT NULL,
    available bigint NOT NULL CONSTRAINT products_available_in_range
        CHECK (available BETWEEN 0 AND 1000000000000),
    reserved bigint NOT NULL DEFAULT 0 CONSTRAINT products_reserved_in_range
        CHECK (reserved BETWEEN 0 AND 1000000000000),
    sold bigint NOT NULL DEFAULT 0 CONSTRAINT products_sold_in_range
        CHECK (sold BETWEEN 0 AND 1000000000000),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50)
"""

# An order's move sums to zero (I32), so only 'initial' and 'adjust' change what there is.
LEDGER = """
CREATE TABLE app.stock_ledger (
    product_id uuid NOT NULL,
    order_id uuid,
    kind text NOT NULL CONSTRAINT stock_ledger_kind_known
        CHECK (kind IN ('initial', 'adjust', 'reserve', 'release', 'commit')),
    d_available bigint NOT NULL,
    d_reserved bigint NOT NULL,
    d_sold bigint NOT NULL,
    at timestamptz NOT NULL,
    message_id uuid,
    CONSTRAINT stock_ledger_balanced CHECK (
        CASE WHEN order_id IS NULL
             THEN kind IN ('initial', 'adjust') AND d_reserved = 0 AND d_sold = 0
             ELSE kind NOT IN ('initial', 'adjust') AND d_available + d_reserved + d_sold = 0 END)
)
"""

LEDGER_ONCE = """
CREATE UNIQUE INDEX stock_ledger_once ON app.stock_ledger (order_id, product_id, kind)
WHERE order_id IS NOT NULL
"""

RESERVATIONS = """
CREATE TABLE app.reservations (
    order_id uuid PRIMARY KEY,
    status text NOT NULL CONSTRAINT reservations_status_known
        CHECK (status IN ('RESERVED', 'REJECTED', 'RELEASED', 'COMMITTED')),
    quantities jsonb NOT NULL,
    reason text,
    detail text,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70)
"""

SEED_PRODUCTS = """
INSERT INTO app.products (id, name, available, created_at, updated_at) VALUES
    ('11111111-1111-1111-1111-111111111111', 'Wireless Mouse', 100, now(), now()),
    ('22222222-2222-2222-2222-222222222222', 'Mechanical Keyboard', 50, now(), now()),
    ('33333333-3333-3333-3333-333333333333', 'USB-C Hub', 75, now(), now()),
    ('44444444-4444-4444-4444-444444444444', '27" Monitor', 30, now(), now()),
    ('55555555-5555-5555-5555-555555555555', 'Laptop Stand', 200, now(), now())
"""

SEED_LEDGER = """
INSERT INTO app.stock_ledger (product_id, kind, d_available, d_reserved, d_sold, at)
SELECT id, 'initial', available, 0, 0, created_at FROM app.products
"""

PRODUCTS_VIEW = """
CREATE VIEW public.products AS
SELECT id, name, least(available, 2147483647)::int AS stock FROM app.products
"""

# Sold shows as RESERVED: the documents know no other word for stock that did not come back.
RESERVATIONS_VIEW = """
CREATE VIEW public.reservations AS
SELECT md5(r.order_id || ':' || line.ordinal)::uuid AS id, r.order_id,
       (line.value ->> 'productId')::uuid AS product_id,
       (line.value ->> 'quantity')::int AS quantity,
       (CASE r.status WHEN 'RELEASED' THEN 'RELEASED' ELSE 'RESERVED' END)::varchar(32) AS status,
       r.created_at
FROM app.reservations r
CROSS JOIN LATERAL jsonb_array_elements(r.quantities) WITH ORDINALITY AS line (value, ordinal)
WHERE r.status <> 'REJECTED'
"""


def upgrade() -> None:
    """Tables, the index that allows each move of an order once (I34), seeds, views, grants."""
    documented.run(
        [
            PRODUCTS,
            LEDGER,
            RESERVATIONS,
            LEDGER_ONCE,
            SEED_PRODUCTS,
            SEED_LEDGER,
            documented.JSON_OR_NULL,
            documented.UUID_OR_NULL,
            PRODUCTS_VIEW,
            RESERVATIONS_VIEW,
            documented.OUTBOX_EVENTS,
            documented.PROCESSED_EVENTS,
        ]
    )
    documented.grant(changing=["products", "reservations"], appending=["stock_ledger"])

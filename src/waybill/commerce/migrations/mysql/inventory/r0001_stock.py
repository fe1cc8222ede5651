"""Products, the ledger that explains every unit of them, and one reservation an order.

Five products are seeded, each with the ledger row that brought it (R109).
"""

from waybill.commerce.migrations.mysql import documented
from waybill.commerce.migrations.mysql.documented import (
    INSTANT,
    JSON,
    bytes_id,
    instant,
    text_id,
)

revision = "inventory_mysql_0001"
down_revision = None
branch_labels = None
depends_on = None

# The API takes at most 10^9 of a product; what is released again must always fit on top of that.
PRODUCTS = f"""
CREATE TABLE IF NOT EXISTS app_products (
    id binary(16) NOT NULL PRIMARY KEY,
    name varchar(255) NOT NULL,
    available bigint NOT NULL,
    reserved bigint NOT NULL DEFAULT 0,
    sold bigint NOT NULL DEFAULT 0,
    created_at {INSTANT} NOT NULL,
    updated_at {INSTANT} NOT NULL,
    CONSTRAINT products_available_in_range CHECK (available BETWEEN 0 AND 1000000000000),
    CONSTRAINT products_reserved_in_range CHECK (reserved BETWEEN 0 AND 1000000000000),
    CONSTRAINT products_sold_in_range CHECK (sold BETWEEN 0 AND 1000000000000)
)
"""

ADJUSTMENTS = f"""
CREATE TABLE IF NOT EXISTS app_stock_adjustments (
    place bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id binary(16) NOT NULL,
    kind varchar(10) NOT NULL,
    d_available bigint NOT NULL,
    at {INSTANT} NOT NULL,
    KEY stock_adjustments_of (product_id),
    CONSTRAINT stock_adjustments_kind_known CHECK (kind IN ('initial', 'adjust'))
)
"""

# What an order moved stands in its reservation: a reserve, then at most a release or a commit.
RESERVATIONS = f"""
CREATE TABLE IF NOT EXISTS app_reservations (
    order_id binary(16) NOT NULL PRIMARY KEY,
    status varchar(10) NOT NULL,
    quantities {JSON} NOT NULL,
    reason text,
    detail text,
    version bigint NOT NULL,
    moves {JSON} NOT NULL,
    created_at {INSTANT} NOT NULL,
    updated_at {INSTANT} NOT NULL,
    CONSTRAINT reservations_status_known
        CHECK (status IN ('RESERVED', 'REJECTED', 'RELEASED', 'COMMITTED')),
    CONSTRAINT reservations_moved_once CHECK (
        json_length(moves) <= 2
        AND (json_length(moves) < 1 OR json_contains(moves, '"reserve"', '$[0].kind'))
        AND (json_length(moves) < 2 OR json_contains(moves, '"release"', '$[1].kind')
             OR json_contains(moves, '"commit"', '$[1].kind'))
    )
)
"""

SEED_PRODUCTS = """
INSERT INTO app_products (id, name, available, created_at, updated_at) VALUES
    (x'11111111111111111111111111111111', 'Wireless Mouse', 100, NOW(6), NOW(6)),
    (x'22222222222222222222222222222222', 'Mechanical Keyboard', 50, NOW(6), NOW(6)),
    (x'33333333333333333333333333333333', 'USB-C Hub', 75, NOW(6), NOW(6)),
    (x'44444444444444444444444444444444', '27" Monitor', 30, NOW(6), NOW(6)),
    (x'55555555555555555555555555555555', 'Laptop Stand', 200, NOW(6), NOW(6))
ON DUPLICATE KEY UPDATE name = VALUES(name)
"""

SEED_LEDGER = """
INSERT INTO app_stock_adjustments (product_id, kind, d_available, at)
SELECT id, 'initial', available, created_at FROM app_products AS p
WHERE NOT EXISTS (SELECT 1 FROM app_stock_adjustments AS a WHERE a.product_id = p.id)
"""

_MOVE = """
JSON_TABLE(r.moves, '$[*]' COLUMNS (
    kind varchar(10) PATH '$.kind', at varchar(40) PATH '$.at',
    message_id varchar(36) PATH '$.message_id',
    NESTED PATH '$.units[*]' COLUMNS (
        product_id varchar(36) PATH '$[0]', d_available bigint PATH '$[1]',
        d_reserved bigint PATH '$[2]', d_sold bigint PATH '$[3]'
    )
)) AS move
"""

LEDGER = f"""
CREATE OR REPLACE VIEW app_stock_ledger AS
SELECT product_id, NULL AS order_id, kind, d_available, 0 AS d_reserved, 0 AS d_sold, at,
       NULL AS message_id
FROM app_stock_adjustments
UNION ALL
SELECT {bytes_id("move.product_id")}, r.order_id, move.kind, move.d_available, move.d_reserved,
       move.d_sold, {instant("move.at")}, {bytes_id("move.message_id")}
FROM app_reservations AS r JOIN {_MOVE} WHERE move.product_id IS NOT NULL
"""  # noqa: S608 - constants

TABLES = (PRODUCTS, ADJUSTMENTS, RESERVATIONS, LEDGER)
"""The ledger is a view of the others."""
CHANGING, APPENDING = ("app_products", "app_reservations"), ("app_stock_adjustments",)

PRODUCTS_VIEW = f"""
CREATE OR REPLACE VIEW products AS
SELECT {text_id("id")} AS id, name, least(available, 2147483647) AS stock FROM app_products
"""  # noqa: S608 - constants

# Sold shows as RESERVED: the documents know no other word for stock that did not come back.
RESERVATIONS_VIEW = f"""
CREATE OR REPLACE VIEW reservations AS
SELECT md5(concat({text_id("r.order_id")}, ':', line.place)) AS id,
       {text_id("r.order_id")} AS order_id, line.product_id, line.quantity,
       IF(r.status = 'RELEASED', 'RELEASED', 'RESERVED') AS status, r.created_at
FROM app_reservations AS r JOIN JSON_TABLE(r.quantities, '$[*]' COLUMNS (
    place FOR ORDINALITY, product_id varchar(36) PATH '$.productId',
    quantity int PATH '$.quantity'
)) AS line
WHERE r.status <> 'REJECTED'
"""  # noqa: S608 - constants

# A product that has a SKU has it for its name, and its id is made of it; others go by their id.
_SKU = f"""
IF(p.id = unhex(left(sha2(concat('sku:', p.name), 256), 32)), p.name, {text_id("p.id")})
"""

INVENTORY_OF_SEED_001 = f"""
CREATE OR REPLACE VIEW reservation_inventory AS
SELECT {_SKU} AS sku, p.available AS available_qty, p.reserved AS reserved_qty
FROM app_products AS p
"""  # noqa: S608 - constants

# One row a SKU, so the documented key (one event, one row) becomes order and number (C13).
LOG_OF_SEED_001 = f"""
CREATE OR REPLACE VIEW reservation_reservation_log AS
SELECT concat({text_id("l.order_id")}, '#',
              row_number() OVER (PARTITION BY l.order_id ORDER BY l.at, p.id)) AS event_id,
       {text_id("l.order_id")} AS order_id, {_SKU} AS sku, l.d_reserved AS delta_reserved,
       'RESERVED' AS status, l.at AS created_at
FROM app_stock_ledger AS l JOIN app_products AS p ON p.id = l.product_id
WHERE l.order_id IS NOT NULL
UNION ALL
SELECT concat({text_id("r.order_id")}, '#1'), {text_id("r.order_id")}, NULL, 0, 'REJECTED',
       r.created_at
FROM app_reservations AS r WHERE r.status = 'REJECTED'
"""  # noqa: S608 - constants


def upgrade() -> None:
    """Tables, seeds, views, the run-time role's rights."""
    documented.run(
        [
            *TABLES,
            SEED_PRODUCTS,
            SEED_LEDGER,
            PRODUCTS_VIEW,
            RESERVATIONS_VIEW,
            documented.OUTBOX_EVENTS,
            documented.PROCESSED_EVENTS,
            INVENTORY_OF_SEED_001,
            LOG_OF_SEED_001,
            documented.OUTBOX_OF_SEED_001,
        ]
    )
    documented.grant(changing=CHANGING, appending=APPENDING)

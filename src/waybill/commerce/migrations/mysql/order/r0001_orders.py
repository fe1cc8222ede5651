"""Orders, each one row with its facts, lines, timeline and idempotency key; documented views.

With inventory's tables, for a blueprint that keeps stock beside its orders; else they stay empty.
"""

from waybill.commerce.migrations.mysql import documented
from waybill.commerce.migrations.mysql.documented import (
    INSTANT,
    JSON,
    bytes_id,
    instant,
    json_text,
    text_id,
)
from waybill.commerce.migrations.mysql.inventory import r0001_stock as stock

revision = "order_mysql_0001"
down_revision = None
branch_labels = None
depends_on = None

# `repeats` makes a key that was there count double, so that an INSERT tells what it placed.
ORDERS = f"""
CREATE TABLE IF NOT EXISTS app_orders (
    id binary(16) NOT NULL PRIMARY KEY,
    customer_id binary(16) NOT NULL,
    currency varchar(3) NOT NULL,
    total_amount decimal(12,2) NOT NULL,
    `lines` {JSON} NOT NULL,
    status varchar(32) NOT NULL,
    facts text NOT NULL,
    reason text,
    detail text,
    payment_id binary(16),
    version bigint NOT NULL,
    timeline_seq int NOT NULL,
    timeline {JSON} NOT NULL,
    not_after {INSTANT} NOT NULL,
    ask_at {INSTANT} NOT NULL,
    asks int NOT NULL DEFAULT 0,
    settled_at {INSTANT},
    scope varchar(255) NOT NULL,
    route varchar(255) NOT NULL,
    idempotency_key varchar(64) NOT NULL,
    request_hash varchar(64) NOT NULL,
    response longblob NOT NULL,
    particulars {JSON},
    repeats int NOT NULL DEFAULT 0,
    created_at {INSTANT} NOT NULL,
    updated_at {INSTANT} NOT NULL,
    UNIQUE KEY orders_key (scope, route, idempotency_key),
    KEY orders_by_customer (customer_id, id),
    KEY orders_by_status (status, id),
    KEY orders_open (settled_at, ask_at),
    CONSTRAINT orders_total_in_range
        CHECK (total_amount >= 0 AND total_amount <= 9999999999.99),
    CONSTRAINT orders_status_known CHECK (status REGEXP '^[A-Z][A-Z_]*$'),
    CONSTRAINT orders_lines_are_json CHECK (json_valid(`lines`)),
    CONSTRAINT orders_timeline_is_json CHECK (json_valid(timeline))
)
"""

TIMELINE = f"""
CREATE OR REPLACE VIEW app_order_timeline AS
SELECT o.id AS order_id, e.seq, e.event, e.from_status, e.to_status, {instant("e.at")} AS at,
       {bytes_id("e.message_id")} AS message_id, e.detail
FROM app_orders AS o JOIN JSON_TABLE(o.timeline, '$[*]' COLUMNS (
    seq int PATH '$.seq', event varchar(64) PATH '$.event',
    from_status varchar(32) PATH '$.from_status', to_status varchar(32) PATH '$.to_status',
    at varchar(40) PATH '$.at', message_id varchar(36) PATH '$.message_id',
    detail text PATH '$.detail'
)) AS e
"""  # noqa: S608 - constants

ORDERS_VIEW = f"""
CREATE OR REPLACE VIEW orders AS
SELECT {text_id("id")} AS id, {text_id("customer_id")} AS customer_id, status, total_amount,
       currency, idempotency_key, created_at, updated_at, version
FROM app_orders
"""  # noqa: S608 - constants

_LINE = """
JSON_TABLE(o.`lines`, '$[*]' COLUMNS (
    place FOR ORDINALITY, product_id varchar(36) PATH '$.productId',
    quantity int PATH '$.quantity', unit_price decimal(12,2) PATH '$.unitPrice'
)) AS line
"""
_LINE_ID = f"md5(concat({text_id('o.id')}, ':', line.place))"

ITEMS_VIEW = f"""
CREATE OR REPLACE VIEW order_items AS
SELECT {_LINE_ID} AS id, {text_id("o.id")} AS order_id, line.product_id, line.quantity,
       line.unit_price
FROM app_orders AS o JOIN {_LINE}
"""  # noqa: S608 - constants

KEYS = """
CREATE OR REPLACE VIEW app_idempotency_keys AS
SELECT scope, route, idempotency_key AS `key`, id AS order_id, request_hash, response, created_at
FROM app_orders
"""

KEYS_VIEW = f"""
CREATE OR REPLACE VIEW idempotency_keys AS
SELECT idempotency_key AS `key`, {text_id("id")} AS order_id, request_hash,
       CONVERT(response USING utf8mb4) AS response_body, created_at
FROM app_orders
"""  # noqa: S608 - constants

ORDERS_OF_SEED_001 = f"""
CREATE OR REPLACE VIEW reservation_orders AS
SELECT {text_id("id")} AS id,
       {json_text("particulars", "'$.customerEmail'")} AS customer_email, status,
       total_amount, created_at, updated_at, sha2(idempotency_key, 256) AS key_hash
FROM app_orders
"""  # noqa: S608 - constants

ITEMS_OF_SEED_001 = f"""
CREATE OR REPLACE VIEW reservation_order_items AS
SELECT {_LINE_ID} AS id, {text_id("o.id")} AS order_id,
       {json_text("o.particulars", "concat('$.skus[', line.place - 1, ']')")} AS sku,
       line.unit_price, line.quantity
FROM app_orders AS o JOIN {_LINE}
"""  # noqa: S608 - constants


def _number(column: str) -> str:
    """The id of anything that seed 000 numbers is that number."""
    return f"CAST(conv(right(hex({column}), 16), 16, 10) AS signed)"


PRODUCT_OF_SEED_000 = f"""
CREATE OR REPLACE VIEW notify_product AS
SELECT {_number("id")} AS id, name, available AS stock FROM app_products
"""  # noqa: S608 - constants

_NUMBERED = _number(bytes_id("line.product_id"))

ORDERS_OF_SEED_000 = f"""
CREATE OR REPLACE VIEW notify_customer_order AS
SELECT {text_id("o.id")} AS id, {_number("o.customer_id")} AS user_id,
       group_concat({_NUMBERED} ORDER BY line.place) AS product_ids, o.status, o.created_at
FROM app_orders AS o JOIN {_LINE} GROUP BY o.id
"""  # noqa: S608 - constants

ORDER_PRODUCTS_OF_SEED_000 = f"""
CREATE OR REPLACE VIEW notify_order_product AS
SELECT {text_id("o.id")} AS order_id, {_NUMBERED} AS product_id
FROM app_orders AS o JOIN {_LINE}
"""  # noqa: S608 - constants

# A notification that is parked is NOTIFY_FAILED until the periodic retry takes it up again.
NOTIFICATIONS_OF_SEED_000 = f"""
CREATE OR REPLACE VIEW notify_notification AS
SELECT {text_id("causation_id")} AS event_id, substring_index(`key`, ':', 1) AS order_id,
       CASE state WHEN 'DELIVERED' THEN 'NOTIFY_SUCCESS' WHEN 'PENDING' THEN 'PENDING'
                  ELSE 'NOTIFY_FAILED' END AS status,
       attempts, reason, created_at, settled_at
FROM messaging_deliveries WHERE kind = 'notify'
"""  # noqa: S608 - constants

# `processed`: whoever reads the topic has it; a notification: the other side has it.
OUTBOX_OF_SEED_000 = f"""
CREATE OR REPLACE VIEW notify_outbox_event AS
SELECT o.id, o.event_type, o.payload, o.published AS processed, o.created_at
FROM outbox_events AS o
UNION ALL
SELECT {text_id("d.id")}, IF(d.state = 'DELIVERED', 'NOTIFY_SUCCESS', 'NOTIFY_FAILED'),
       CONVERT(d.request USING utf8mb4), d.state = 'DELIVERED',
       coalesce(d.settled_at, d.created_at)
FROM messaging_deliveries AS d WHERE d.kind = 'notify' AND d.state <> 'PENDING'
"""  # noqa: S608 - constants


def upgrade() -> None:
    """The tables, the views, the run-time role's rights."""
    documented.run(
        [
            ORDERS,
            *stock.TABLES,
            TIMELINE,
            ORDERS_VIEW,
            ITEMS_VIEW,
            KEYS,
            KEYS_VIEW,
            documented.OUTBOX_EVENTS,
            documented.PROCESSED_EVENTS,
            ORDERS_OF_SEED_001,
            ITEMS_OF_SEED_001,
            documented.OUTBOX_OF_SEED_001,
            PRODUCT_OF_SEED_000,
            ORDERS_OF_SEED_000,
            ORDER_PRODUCTS_OF_SEED_000,
            NOTIFICATIONS_OF_SEED_000,
            OUTBOX_OF_SEED_000,
        ]
    )
    documented.grant(changing=["app_orders", *stock.CHANGING], appending=stock.APPENDING)

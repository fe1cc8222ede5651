"""Seed 001's documented tables as views: levels by SKU, and the log of what was reserved."""

from waybill.commerce.migrations import documented

revision = "inventory_0003"
down_revision = "inventory_0002"
branch_labels = None
depends_on = None

# A product that has a SKU has it for its name, and its id is made of it; others go by their id.
SKU = """
CREATE FUNCTION reservation.sku(id uuid, name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN id = substr(encode(sha256(convert_to('sku:' || name, 'UTF8')), 'hex'), 1, 32)
                          ::uuid THEN name ELSE id::text END
$$
"""

INVENTORY = """
CREATE VIEW reservation.inventory AS
SELECT reservation.sku(id, name) AS sku, available AS available_qty, reserved AS reserved_qty
FROM app.products
"""

# One row a SKU, so the documented key (one event, one row) becomes order and number (C13).
LOG = """
CREATE VIEW reservation.reservation_log AS
SELECT r.order_id || '#' || row_number() OVER (PARTITION BY r.order_id ORDER BY move.at, p.id)
           AS event_id,
       r.order_id, reservation.sku(p.id, p.name) AS sku, (unit.value ->> 2)::bigint
           AS delta_reserved, 'RESERVED' AS status, move.at AS created_at
FROM app.reservations r CROSS JOIN LATERAL jsonb_to_recordset(r.moves) AS move (
    kind text, at timestamptz, units jsonb
) CROSS JOIN LATERAL jsonb_array_elements(move.units) AS unit (value)
JOIN app.products p ON p.id = (unit.value ->> 0)::uuid
UNION ALL
SELECT order_id || '#1', order_id, NULL, 0, 'REJECTED', created_at
FROM app.reservations WHERE status = 'REJECTED'
"""


def upgrade() -> None:
    """Views only."""
    documented.run(
        [
            "CREATE SCHEMA IF NOT EXISTS reservation",
            SKU,
            INVENTORY,
            LOG,
            documented.OUTBOX_OF_SEED_001,
        ]
    )
    documented.grant_documents("reservation")

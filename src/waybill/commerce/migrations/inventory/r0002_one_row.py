"""What an order moved stands in its reservation; the ledger is a view that unites it with counts.

A reservation's moves are written with its status: a reserve, then at most a release or a commit.
"""

from waybill.commerce.migrations import documented

revision = "inventory_0002"
down_revision = "inventory_0001"
branch_labels = None
depends_on = None

COLUMN = "ALTER TABLE app.reservations ADD COLUMN moves jsonb NOT NULL DEFAULT '[]'"

# A unit of a move: product, and what it changes of available, reserved and sold.
CARRIED = """
UPDATE app.reservations r SET moves = m.moves FROM (
    SELECT order_id, jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'kind', kind, 'at', at, 'message_id', message_id, 'units', units
    )) ORDER BY at, kind DESC) AS moves
    FROM (
        SELECT order_id, kind, at, message_id, jsonb_agg(
            jsonb_build_array(product_id, d_available, d_reserved, d_sold) ORDER BY product_id
        ) AS units
        FROM app.stock_ledger WHERE order_id IS NOT NULL GROUP BY order_id, kind, at, message_id
    ) AS kinds GROUP BY order_id
) AS m WHERE m.order_id = r.order_id
"""

COMPLETE = """
ALTER TABLE app.reservations ALTER COLUMN moves DROP DEFAULT,
    ADD CONSTRAINT reservations_moved_once CHECK (
        jsonb_array_length(moves) <= 2 AND moves -> 0 ->> 'kind' = 'reserve'
        AND moves -> 1 ->> 'kind' IN ('release', 'commit')
    )
"""

ADJUSTMENTS = (
    "DROP INDEX app.stock_ledger_once",
    "DELETE FROM app.stock_ledger WHERE order_id IS NOT NULL",
    "ALTER TABLE app.stock_ledger RENAME TO stock_adjustments",
    """
    ALTER TABLE app.stock_adjustments DROP CONSTRAINT stock_ledger_kind_known,
        DROP CONSTRAINT stock_ledger_balanced, DROP COLUMN order_id, DROP COLUMN d_reserved,
        DROP COLUMN d_sold, DROP COLUMN message_id,
        ADD CONSTRAINT stock_adjustments_kind_known CHECK (kind IN ('initial', 'adjust'))
    """,
)

LEDGER = """
CREATE VIEW app.stock_ledger AS
SELECT product_id, NULL::uuid AS order_id, kind, d_available, 0::bigint AS d_reserved,
       0::bigint AS d_sold, at, NULL::uuid AS message_id
FROM app.stock_adjustments
UNION ALL
SELECT (unit.value ->> 0)::uuid, r.order_id, move.kind, (unit.value ->> 1)::bigint,
       (unit.value ->> 2)::bigint, (unit.value ->> 3)::bigint, move.at, move.message_id
FROM app.reservations r CROSS JOIN LATERAL jsonb_to_recordset(r.moves) AS move (
    kind text, at timestamptz, message_id uuid, units jsonb
) CROSS JOIN LATERAL jsonb_array_elements(move.units) AS unit (value)
"""


def upgrade() -> None:
    """Carry the orders' moves into their reservations; what is left are adjustments."""
    documented.run([COLUMN, CARRIED, *ADJUSTMENTS, COMPLETE, LEDGER, documented.OUTBOX_EVENTS])
    documented.grant(changing=[])
    documented.restrict("reservations", ("status", "version", "moves", "updated_at"))

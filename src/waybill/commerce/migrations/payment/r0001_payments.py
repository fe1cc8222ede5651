"""The books of payments: one row an order, with its refund in it (I39, I41)."""

from waybill.commerce.migrations import documented

revision = "payment_0001"
down_revision = None
branch_labels = None
depends_on = None

# amount and currency are null in a tombstone: an order that was cancelled before any charge.
PAYMENTS = """
CREATE TABLE app.payments (
    order_id uuid PRIMARY KEY,
    payment_id uuid NOT NULL,
    status text NOT NULL CONSTRAINT payments_status_known
        CHECK (status IN ('PENDING', 'SUCCEEDED', 'FAILED', 'REFUND_PENDING', 'REFUNDED')),
    amount numeric(12,2) CONSTRAINT payments_amount_in_range
        CHECK (amount > 0 AND amount <= 9999999999.99),
    currency varchar(3),
    reason text,
    detail text,
    refund_id uuid,
    refunded_at timestamptz,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT payments_charged_with_amount
        CHECK (status = 'FAILED' OR (amount IS NOT NULL AND currency IS NOT NULL)),
    CONSTRAINT payments_refund_complete
        CHECK ((refunded_at IS NOT NULL) = (status = 'REFUNDED')),
    CONSTRAINT payments_failed_with_reason CHECK ((reason IS NOT NULL) = (status = 'FAILED'))
) WITH (fillfactor = 70)
"""

# A payment that is under way has no status in the documents, and a refunded one did succeed.
PAYMENTS_VIEW = """
CREATE VIEW public.payments AS
SELECT payment_id AS id, order_id, amount,
       (CASE status WHEN 'FAILED' THEN 'FAILED' ELSE 'SUCCEEDED' END)::varchar(32) AS status,
       created_at
FROM app.payments
WHERE status <> 'PENDING' AND amount IS NOT NULL
"""


def upgrade() -> None:
    """The table, documented views, grants."""
    documented.run(
        [
            PAYMENTS,
            documented.JSON_OR_NULL,
            documented.UUID_OR_NULL,
            PAYMENTS_VIEW,
            documented.OUTBOX_EVENTS,
            documented.PROCESSED_EVENTS,
        ]
    )
    documented.grant(changing=["payments"])

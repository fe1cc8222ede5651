"""The payment simulator's own ledger, apart from the payment service's books (I35, I36).

Append-only: what was captured stays captured, a refund is a row of its own.
"""

from waybill.commerce.migrations import documented

revision = "provider_0001"
down_revision = None
branch_labels = None
depends_on = None

CHARGES = """
CREATE TABLE app.charges (
    idempotency_key text PRIMARY KEY,
    charge_id uuid NOT NULL,
    order_id uuid NOT NULL,
    amount numeric(12,2) NOT NULL,
    currency varchar(3) NOT NULL,
    outcome text NOT NULL CONSTRAINT charges_outcome_known
        CHECK (outcome IN ('CAPTURED', 'DECLINED')),
    created_at timestamptz NOT NULL
)
"""

REFUNDS = """
CREATE TABLE app.refunds (
    idempotency_key text PRIMARY KEY,
    refund_id uuid NOT NULL,
    charge_key text NOT NULL UNIQUE REFERENCES app.charges,
    order_id uuid NOT NULL,
    amount numeric(12,2) NOT NULL,
    currency varchar(3) NOT NULL,
    created_at timestamptz NOT NULL
)
"""


def upgrade() -> None:
    """Tables and grants; nothing of it is documented, so there are no views."""
    documented.run([CHARGES, REFUNDS])
    documented.grant(changing=[], appending=["charges", "refunds"])

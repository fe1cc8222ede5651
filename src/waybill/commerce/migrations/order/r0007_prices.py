"""What products cost today, where orders are held to it. The run-time role reads it only."""

from waybill.commerce.migrations import documented

revision = "order_0007"
down_revision = "order_0006"
branch_labels = None
depends_on = None

# The name is what customers call the product by: its id, or a document's SKU.
PRICES = """
CREATE TABLE app.prices (
    product_id uuid NOT NULL,
    currency varchar(3) NOT NULL CONSTRAINT prices_currency_is_three_letters
        CHECK (currency ~ '^[A-Z]{3}$'),
    name text NOT NULL,
    unit_price numeric(12,2) NOT NULL
        CONSTRAINT prices_in_range CHECK (unit_price BETWEEN 0.01 AND 9999999999.99),
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (product_id, currency)
)
"""


def upgrade() -> None:
    """The table, and who may read it."""
    documented.run([PRICES])
    documented.grant(changing=[])

"""What the client that placed an order calls their conversation; NULL: the order's id."""

from waybill.commerce.migrations import documented

revision = "order_0008"
down_revision = "order_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column. The run-time role writes it with the order, and cannot change it."""
    documented.run(["ALTER TABLE app.orders ADD COLUMN correlation_id text"])

"""What an order's client calls their conversation, as the order was heard of; NULL: its id."""

from waybill.commerce.migrations import documented

revision = "orchestrator_0002"
down_revision = "orchestrator_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column."""
    documented.run(["ALTER TABLE app.sagas ADD COLUMN correlation_id text"])

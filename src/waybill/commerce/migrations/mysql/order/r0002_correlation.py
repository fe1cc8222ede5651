"""What the client that placed an order calls their conversation; NULL: the order's id."""

from alembic import op

from waybill.commerce.migrations.mysql import documented

revision = "order_mysql_0002"
down_revision = "order_mysql_0001"
branch_labels = None
depends_on = None

_THERE = """
SELECT count(*) FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'app_orders' AND column_name = 'correlation_id'
"""


def upgrade() -> None:
    """A column; it may be there, after an upgrade that was cut short: the ALTER commits."""
    if not op.get_bind().exec_driver_sql(_THERE).scalar_one():
        documented.run(["ALTER TABLE app_orders ADD COLUMN correlation_id varchar(64)"])

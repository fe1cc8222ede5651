"""What a key was answered with, where that is decided after the order was placed (protocol M9)."""

from waybill.commerce.migrations import documented
from waybill.commerce.migrations.order.r0003_blueprints import CHANGING

revision = "order_0006"
down_revision = "order_0005"
branch_labels = None
depends_on = None

ANSWER = """
ALTER TABLE app.orders ADD COLUMN answer smallint CONSTRAINT orders_answer_is_status
    CHECK (answer BETWEEN 200 AND 599)
"""


def upgrade() -> None:
    """The status of the answer; null: the first one, or not decided yet."""
    documented.run([ANSWER])
    documented.grant(changing=[])
    documented.restrict("orders", (*CHANGING, "answer", "response"))

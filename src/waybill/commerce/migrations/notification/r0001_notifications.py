"""One notification for each finished order and kind (I42)."""

from waybill.commerce.migrations import documented

revision = "notification_0001"
down_revision = None
branch_labels = None
depends_on = None

NOTIFICATIONS = """
CREATE TABLE app.notifications (
    order_id uuid NOT NULL,
    kind text NOT NULL CONSTRAINT notifications_kind_known
        CHECK (kind IN ('OrderConfirmed', 'OrderCancelled')),
    message text NOT NULL,
    status text NOT NULL CONSTRAINT notifications_status_known
        CHECK (status IN ('PENDING', 'SENT', 'FAILED')),
    detail text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, kind)
) WITH (fillfactor = 70)
"""

NOTIFICATIONS_VIEW = """
CREATE VIEW public.notifications AS
SELECT md5(order_id || ':' || kind)::uuid AS id, order_id, kind::varchar(128) AS event_type,
       message, created_at
FROM app.notifications
"""


def upgrade() -> None:
    """The table, documented views, grants."""
    documented.run([NOTIFICATIONS, NOTIFICATIONS_VIEW, documented.PROCESSED_EVENTS])
    documented.grant(changing=["notifications"])

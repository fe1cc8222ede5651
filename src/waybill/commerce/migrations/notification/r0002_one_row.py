"""A notification is its mail's delivery: one row says what is told, and whether it was."""

from waybill.commerce.migrations import documented

revision = "notification_0002"
down_revision = "notification_0001"
branch_labels = None
depends_on = None

# Every notification was written with its delivery; one without would be lost with its table.
CARRIED = """
INSERT INTO messaging.deliveries
    (id, kind, key, request, state, outcome, correlation_id, created_at, settled_at)
SELECT gen_random_uuid(), 'email', n.order_id || ':' || n.kind, convert_to(jsonb_build_object(
           'message_id', '<' || n.order_id || '.' || n.kind || '@waybill>', 'order_id', n.order_id,
           'kind', n.kind, 'text', n.message, 'log_line', '[EMAIL] ' || n.message
       )::text, 'UTF8'),
       CASE n.status WHEN 'SENT' THEN 'DELIVERED' WHEN 'FAILED' THEN 'REFUSED' ELSE 'PENDING' END,
       convert_to(CASE n.status
           WHEN 'SENT' THEN '{"type":"Delivered"}'
           WHEN 'FAILED' THEN jsonb_build_object(
               'type', 'Refused', 'reason', 'failed', 'detail', coalesce(n.detail, '')
           )::text
       END, 'UTF8'),
       n.order_id::text, n.created_at, CASE WHEN n.status <> 'PENDING' THEN n.updated_at END
FROM app.notifications n
ON CONFLICT (kind, key) DO NOTHING
"""

NOTIFICATIONS = """
CREATE VIEW app.notifications AS
SELECT split_part(d.key, ':', 1)::uuid AS order_id, split_part(d.key, ':', 2) AS kind,
       convert_from(d.request, 'UTF8')::jsonb ->> 'text' AS message,
       CASE d.state WHEN 'DELIVERED' THEN 'SENT' WHEN 'REFUSED' THEN 'FAILED'
                    ELSE 'PENDING' END AS status,
       CASE WHEN d.state = 'REFUSED' THEN coalesce(
           nullif(convert_from(d.outcome, 'UTF8')::jsonb ->> 'detail', ''),
           convert_from(d.outcome, 'UTF8')::jsonb ->> 'reason'
       ) END AS detail,
       d.created_at, coalesce(d.settled_at, d.created_at) AS updated_at, d.key
FROM messaging.deliveries d WHERE d.kind = 'email'
"""

NOTIFICATIONS_VIEW = """
CREATE VIEW public.notifications AS
SELECT md5(key)::uuid AS id, order_id, kind::varchar(128) AS event_type, message, created_at
FROM app.notifications
"""


def upgrade() -> None:
    """See to it that each has its delivery, then show those under the old names."""
    documented.run(
        [
            CARRIED,
            "DROP VIEW public.notifications",
            "DROP TABLE app.notifications",
            NOTIFICATIONS,
            NOTIFICATIONS_VIEW,
        ]
    )
    documented.grant(changing=[])

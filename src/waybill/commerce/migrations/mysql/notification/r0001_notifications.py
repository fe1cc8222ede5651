"""A notification is its mail's delivery: one row says what is told, and whether it was."""

from waybill.commerce.migrations.mysql import documented
from waybill.commerce.migrations.mysql.documented import bytes_id

revision = "notification_mysql_0001"
down_revision = None
branch_labels = None
depends_on = None


def _told(column: str, member: str) -> str:
    text = f"CONVERT(d.{column} USING utf8mb4)"
    return documented.json_text(text, f"'$.{member}'")


NOTIFICATIONS = f"""
CREATE OR REPLACE VIEW app_notifications AS
SELECT unhex(md5(d.`key`)) AS id, {bytes_id("substring_index(d.`key`, ':', 1)")} AS order_id,
       substring_index(substring_index(d.`key`, ':', 2), ':', -1) AS kind,
       {_told("request", "text")} AS message,
       CASE d.state WHEN 'DELIVERED' THEN 'SENT' WHEN 'REFUSED' THEN 'FAILED'
                    ELSE 'PENDING' END AS status,
       CASE WHEN d.state = 'REFUSED' THEN coalesce(
           IF(char_length({_told("outcome", "detail")}) > 0, {_told("outcome", "detail")}, NULL),
           {_told("outcome", "reason")}
       ) END AS detail,
       d.created_at, coalesce(d.settled_at, d.created_at) AS updated_at, d.`key`
FROM messaging_deliveries AS d WHERE d.kind = 'email'
"""  # noqa: S608 - constants

NOTIFICATIONS_VIEW = f"""
CREATE OR REPLACE VIEW notifications AS
SELECT {documented.text_id("id")} AS id, {documented.text_id("order_id")} AS order_id,
       kind AS event_type, message, created_at
FROM app_notifications
"""  # noqa: S608 - constants


def upgrade() -> None:
    """Views only: there is no table but messaging's."""
    documented.run([NOTIFICATIONS, NOTIFICATIONS_VIEW, documented.PROCESSED_EVENTS])
    documented.grant(changing=[])

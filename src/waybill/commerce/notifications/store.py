"""SQL of notifications: one row an order and kind (I42), one statement a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.columns import column
from waybill.commerce.notifications.views import NotificationView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.commerce.notifications.domain import Notification
    from waybill.messaging.core.ports import Database, Transaction

_INSERT = """
INSERT INTO app.notifications (order_id, kind, message, status, created_at, updated_at)
SELECT u.order_id, u.kind, u.message, 'PENDING', $4, $4
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (order_id, kind, message)
ORDER BY u.order_id, u.kind
ON CONFLICT (order_id, kind) DO NOTHING RETURNING order_id, kind
"""

_SETTLE = """
UPDATE app.notifications n SET status = u.status, detail = u.detail, updated_at = $5
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS u (order_id, kind, status, detail)
WHERE n.order_id = u.order_id AND n.kind = u.kind AND n.order_id = ANY($1::uuid[])
"""

_OF_ORDER = """
SELECT md5(order_id || ':' || kind)::uuid AS id, order_id, kind, message, status, created_at
FROM app.notifications WHERE order_id = $1 ORDER BY created_at, kind
"""


async def insert(
    transaction: Transaction, notifications: Sequence[Notification], now: datetime
) -> set[str]:
    """Write those that are new; the keys of these."""
    rows = await transaction.fetch(
        _INSERT,
        [each.order_id for each in notifications],
        [each.kind for each in notifications],
        [each.message for each in notifications],
        now,
    )
    return {f"{row['order_id']}:{row['kind']}" for row in rows}


async def settle(
    transaction: Transaction,
    settled: Sequence[tuple[UUID, str, str, str | None]],
    now: datetime,
) -> None:
    """Write (order, kind, status, detail); each row belongs to one delivery, which settles once."""
    await transaction.execute(
        _SETTLE,
        [order_id for order_id, _, _, _ in settled],
        [kind for _, kind, _, _ in settled],
        [status for _, _, status, _ in settled],
        column(detail for _, _, _, detail in settled),
        now,
    )


class NotificationPages:
    """The `NotificationReads` of the notification service's API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def notifications(self, order_id: UUID) -> Sequence[NotificationView]:
        """The notifications about an order, oldest first; empty if there are none."""
        return [
            NotificationView(
                id=row["id"],
                order_id=row["order_id"],
                event_type=row["kind"],
                message=row["message"],
                status=row["status"],
                created_at=row["created_at"],
            )
            for row in await self._database.fetch(_OF_ORDER, order_id)
        ]

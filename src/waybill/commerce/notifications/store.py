"""SQL of notifications: each is the delivery of its mail, one an order and kind (I42)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.notifications.domain import keys_of
from waybill.commerce.notifications.views import NotificationView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database

_OF_ORDER = """
SELECT md5(key)::uuid AS id, order_id, kind, message, status, created_at
FROM app.notifications WHERE key = ANY($1) ORDER BY created_at, kind
"""


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
            for row in await self._database.fetch(_OF_ORDER, keys_of(order_id))
        ]

"""SQL of notifications: each is the delivery of its mail, one an order and kind (I42)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.notifications.domain import keys_of
from waybill.commerce.notifications.views import NotificationView
from waybill.messaging.core.outbox_row import as_uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database

OF_ORDER = """
SELECT md5(key)::uuid AS id, order_id, kind, message, status, created_at
FROM app.notifications WHERE key = ANY($1) ORDER BY created_at, kind
"""


class NotificationPages:
    """The `NotificationReads` of the notification service's API.

    `kinds` are all that an order may be told of: names of events, as in `Notification`.
    """

    def __init__(
        self, database: Database, kinds: Collection[str], of_order: str = OF_ORDER
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._of_order = of_order

    async def notifications(self, order_id: UUID) -> Sequence[NotificationView]:
        """The notifications about an order, oldest first; empty if there are none."""
        return [
            NotificationView(
                id=as_uuid(row["id"]),
                order_id=as_uuid(row["order_id"]),
                event_type=row["kind"],
                message=row["message"],
                status=row["status"],
                created_at=row["created_at"],
            )
            for row in await self._database.fetch(self._of_order, keys_of(order_id, self._kinds))
        ]

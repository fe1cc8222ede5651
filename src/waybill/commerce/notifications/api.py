"""HTTP of the notification service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.commerce.notifications.views import NotificationView


class NotificationReads(Protocol):
    """What GET shows. May raise TransientError."""

    async def notifications(self, order_id: UUID) -> Sequence[NotificationView]:
        """The notifications about an order, oldest first; empty if there are none."""

"""What the notification service shows over HTTP."""

from __future__ import annotations

from uuid import UUID

import msgspec

from waybill.commerce.http.fields import Instant


class NotificationView(msgspec.Struct, frozen=True, rename="camel"):
    """A message to a customer: what it says, and of which event it tells."""

    id: UUID
    order_id: UUID
    event_type: str
    message: str
    status: str
    created_at: Instant


class NotificationList(msgspec.Struct, frozen=True, rename="camel"):
    """The notifications of one order, oldest first."""

    items: tuple[NotificationView, ...]


class Contact(msgspec.Struct, frozen=True, rename="camel"):
    """Where mail to a customer goes."""

    user_id: str
    email: str
    updated_at: Instant

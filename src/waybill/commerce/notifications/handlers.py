"""Notification's consumer: one mail for each finished order (P9), whose delivery is the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.contracts import Event, OrderCancelled, OrderConfirmed
from waybill.commerce.notifications.domain import decide, notification_of
from waybill.commerce.notifications.mailer import Email
from waybill.messaging.core.ports import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from waybill.commerce.deliveries import Calls
    from waybill.commerce.notifications.domain import Notification
    from waybill.commerce.notifications.mailer import Mailer
    from waybill.messaging.core.message import Message
    from waybill.messaging.core.outcome import Outcome
    from waybill.messaging.core.ports import Settlement
    from waybill.messaging.core.unit import Received, UnitOfWork

CONSUMER = "notification-service"
ASKS: tuple[type[Event], ...] = (OrderConfirmed, OrderCancelled)
"""The events that the notification service acts on."""

EMAIL = "email"
"""Kind of the deliveries; the key is order and kind of ending."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Email).decode


def email_of(delivery: Delivery) -> Email:
    """The mail that a delivery of kind EMAIL is about."""
    return _decode(delivery.request)


class NotificationHandler:
    """Owes the mails that tell customers. One statement a batch."""

    def __init__(
        self,
        *,
        emails: Calls,
        new_id: Callable[[], UUID],
        tell: Callable[[object], Notification | None] = notification_of,
    ) -> None:
        self._tell = tell
        self._emails = emails
        self._new_id = new_id

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of ASKS in this unit; what was told already is not told again."""
        owed = [self._delivery(each, cause) for each, cause in decide(received, self._tell)]
        if owed:
            await self._emails.owe(unit, owed)

    def _delivery(self, notification: Notification, cause: Message) -> Delivery:
        email = Email(
            message_id=f"<{notification.order_id}.{notification.kind}@waybill>",
            order_id=notification.order_id,
            kind=notification.kind,
            text=notification.message,
            log_line=notification.log_line,
            subject=notification.subject,
            customer=notification.customer,
        )
        return Delivery(
            id=self._new_id(),
            kind=EMAIL,
            key=notification.key,
            request=_encode(email),
            correlation_id=cause.correlation_id,
            causation_id=cause.id,
            traceparent=cause.traceparent,
        )


class EmailCalls:
    """What the deliverer does with mails: hand them over."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    async def call(self, delivery: Delivery) -> Outcome:
        """Send one mail."""
        return await self._mailer.send(email_of(delivery))

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Nothing more: its delivery says whether a mail is SENT, or visibly FAILED (I43)."""

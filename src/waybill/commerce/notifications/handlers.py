"""Notification's consumer: one record and one mail for each finished order (P9)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Event, OrderCancelled, OrderConfirmed
from waybill.commerce.notifications import store
from waybill.commerce.notifications.domain import decide
from waybill.commerce.notifications.mailer import Email
from waybill.messaging.core.outcome import Delivered
from waybill.messaging.core.ports import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


class NotificationHandler:
    """Records what customers are told, and owes the mails. Two statements a batch."""

    def __init__(self, *, emails: Calls, new_id: Callable[[], UUID]) -> None:
        self._emails = emails
        self._new_id = new_id

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of ASKS in this unit; what was told already is not told again."""
        decided = decide(received)
        if not decided:
            return
        notifications = [notification for notification, _ in decided]
        new = await store.insert(unit.transaction, notifications, unit.now)
        owed = [self._delivery(each, cause) for each, cause in decided if each.key in new]
        if owed:
            await self._emails.owe(unit, owed)

    def _delivery(self, notification: Notification, cause: Message) -> Delivery:
        email = Email(
            message_id=f"<{notification.order_id}.{notification.kind}@waybill>",
            order_id=notification.order_id,
            kind=notification.kind,
            text=notification.message,
            log_line=notification.log_line,
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
    """What the deliverer does with mails: hand them over, then show how that went."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    async def call(self, delivery: Delivery) -> Outcome:
        """Send one mail."""
        return await self._mailer.send(_decode(delivery.request))

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Record what became of the mails: SENT, or visibly FAILED (I43)."""
        await store.settle(
            unit.transaction, [_row(delivery, outcome) for delivery, outcome in settled], unit.now
        )


def _row(delivery: Delivery, outcome: Settlement) -> tuple[UUID, str, str, str | None]:
    order_id, kind = delivery.key.split(":", 1)
    if isinstance(outcome, Delivered):
        return UUID(order_id), kind, "SENT", None
    return UUID(order_id), kind, "FAILED", outcome.detail or outcome.reason

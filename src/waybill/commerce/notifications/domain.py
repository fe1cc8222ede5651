"""What a customer is told: one notification for each finished order and kind of ending."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import OrderCancelled, OrderConfirmed, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.unit import Received

_TEXTS = {
    Reason.STOCK_UNAVAILABLE: "Stock unavailable",
    Reason.PAYMENT_REFUSED: "Payment failed",
    Reason.CUSTOMER_CANCELLED: "Cancelled by the customer",
    Reason.DEADLINE: "The order could not be completed in time",
}


class Notification(msgspec.Struct, frozen=True):
    """One text for one customer. `kind` is the event's name; unique with the order's id.

    `customer` is who it is for, where the event says it: mail needs it to find an address.
    """

    order_id: UUID
    kind: str
    message: str
    log_line: str
    subject: str = ""
    customer: str = ""

    @property
    def key(self) -> str:
        """Idempotency key of its delivery."""
        return _key(self.order_id, self.kind)


_CONFIRMED, _CANCELLED = "OrderConfirmed", "OrderCancelled"


def keys_of(order_id: UUID, kinds: Iterable[str]) -> list[str]:
    """The keys of all the notifications that an order may have, of these kinds."""
    return [_key(order_id, kind) for kind in kinds]


def _key(order_id: UUID, kind: str) -> str:
    return f"{order_id}:{kind}"


def notification_of(event: object) -> Notification | None:
    """What this event tells the customer; None if it does not concern them."""
    if isinstance(event, OrderConfirmed):
        order_id = event.order_id
        return Notification(
            order_id,
            _CONFIRMED,
            f"Order {order_id} has been confirmed. Thank you for your purchase!",
            f"[EMAIL] Sending confirmation email for order {order_id}",
            customer=_customer(event),
        )
    if isinstance(event, OrderCancelled):
        order_id = event.order_id
        why = event.detail or _TEXTS[event.reason]
        return Notification(
            order_id,
            _CANCELLED,
            f"Order {order_id} has been cancelled. Reason: {why}",
            f"[EMAIL] Sending cancellation email for order {order_id}: {why}",
            customer=_customer(event),
        )
    return None


def _customer(event: OrderConfirmed | OrderCancelled) -> str:
    return str(event.customer_id) if event.customer_id is not None else ""


def decide(
    received: Iterable[Received], tell: Callable[[object], Notification | None] = notification_of
) -> list[tuple[Notification, Message]]:
    """A batch's notifications with the messages that led to them, one an order and kind."""
    chosen: dict[str, tuple[Notification, Message]] = {}
    for item in received:
        notification = tell(item.event)
        if notification is not None:
            chosen.setdefault(notification.key, (notification, item.message))
    return list(chosen.values())

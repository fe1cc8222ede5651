"""Notifications: the documented texts, one for each order and kind of ending."""

from __future__ import annotations

import pytest
from tests.commerce.events import ORDER, created, received

from waybill.commerce.contracts import OrderCancelled, OrderConfirmed, Reason
from waybill.commerce.notifications.domain import decide, notification_of


def test_a_confirmation_in_the_document_s_words() -> None:
    """Contracts 1.4 gives the message and the log line."""
    told = notification_of(OrderConfirmed(order_id=ORDER))
    assert told is not None
    assert told.kind == "OrderConfirmed"
    assert told.message == f"Order {ORDER} has been confirmed. Thank you for your purchase!"
    assert told.log_line == f"[EMAIL] Sending confirmation email for order {ORDER}"


def test_a_cancellation_says_why() -> None:
    """The reason is the event's own text where it has one."""
    event = OrderCancelled(
        order_id=ORDER, reason=Reason.STOCK_UNAVAILABLE, detail="Insufficient stock for product: X"
    )
    told = notification_of(event)
    assert told is not None
    why = "Insufficient stock for product: X"
    assert told.message == f"Order {ORDER} has been cancelled. Reason: {why}"
    assert told.log_line == f"[EMAIL] Sending cancellation email for order {ORDER}: {why}"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_text(reason: Reason) -> None:
    """A reason without a text of its own is told in words, not as a code."""
    told = notification_of(OrderCancelled(order_id=ORDER, reason=reason))
    assert told is not None
    assert "_" not in told.message


def test_one_notification_an_order_and_kind() -> None:
    """Repeats in one batch are one notification; other events are none (P9)."""
    confirmed = OrderConfirmed(order_id=ORDER)
    first, again = received(confirmed), received(confirmed)
    ((told, cause),) = decide([received(created()), first, again])
    assert told.key == f"{ORDER}:OrderConfirmed"
    assert cause is first.message

"""Events and messages for tests of the pure domains."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

from waybill.commerce.contracts import Event, Line, OrderCreated
from waybill.messaging.core.message import Message
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOT_AFTER = NOW + timedelta(minutes=15)
LATE = NOT_AFTER + timedelta(seconds=1)
ORDER, OTHER_ORDER, CUSTOMER = UUID(int=1), UUID(int=2), UUID(int=3)
MOUSE, HUB = UUID(int=11), UUID(int=12)

_numbers = count(1000)


def new_ids(start: int = 100) -> Callable[[], UUID]:
    """A factory of ids that a test can foretell."""
    numbers = count(start)
    return lambda: UUID(int=next(numbers))


def received(event: Event) -> Received:
    """The event as a handler gets it, in a message with an id of its own."""
    message = Message(
        id=UUID(int=next(_numbers)),
        topic="topic",
        type=type(event).__name__,
        key=str(event.order_id),
        value=b"",
        occurred_at=NOW,
        correlation_id=str(event.order_id),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return Received(message, event)


def created(
    order_id: UUID = ORDER, *lines: tuple[UUID, int], not_after: datetime | None = NOT_AFTER
) -> OrderCreated:
    """An order of these products and quantities, 29.90 a piece."""
    price = Decimal("29.90")
    items = tuple(Line(product, quantity, price) for product, quantity in lines or ((MOUSE, 2),))
    return OrderCreated(
        order_id=order_id,
        customer_id=CUSTOMER,
        items=items,
        total_amount=price * sum(line.quantity for line in items),
        currency="EUR",
        not_after=not_after,
    )

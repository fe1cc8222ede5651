"""The one order of a walk: its ids, its product, its two instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from waybill.messaging.core.message import Message
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from waybill.commerce.contracts import Event

ORDER_ID, PRODUCT_ID, CUSTOMER_ID, PAYMENT_ID = (UUID(int=number) for number in range(1, 5))
UNITS = 2
"""How many units of the one product the order wants."""

IN_TIME = datetime(2000, 1, 1, tzinfo=UTC)
DEADLINE = timedelta(hours=1)
_LATE = IN_TIME + 2 * DEADLINE
_MESSAGE = Message(id=UUID(int=9), topic="", type="", key="", value=b"", occurred_at=IN_TIME)


def received(event: Event) -> tuple[Received]:
    """The event as a batch of one message."""
    return (Received(_MESSAGE, event),)


def clock(*, late: bool) -> datetime:
    """An instant before or after the order's deadline."""
    return _LATE if late else IN_TIME

"""What a decision wants published: an event and the message that led to it."""

from __future__ import annotations

import msgspec

from waybill.commerce.contracts import Event
from waybill.messaging.core.message import Message


class Publication(msgspec.Struct, frozen=True):
    """One event to publish in the unit that saves the decision; `cause` gives its causation.

    `aggregate_version` is the gapless number of the service's events about this order.
    `traceparent` and `correlation_id` are for one that no message led to.
    """

    event: Event
    aggregate_version: int
    cause: Message | None = None
    traceparent: str | None = None
    correlation_id: str | None = None

    @property
    def key(self) -> str:
        """The partition key: the order's id."""
        return str(self.event.order_id)

"""What a consumer reads in the least that a contract allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.commerce.support import NOW
from tests.contracts.needs import ORDER

from waybill.commerce.contracts import Event
from waybill.messaging.core.message import Message

if TYPE_CHECKING:
    from pact import Pact

    from waybill.messaging.core.codec import Codec


def understood(pact: Pact, codec: Codec) -> list[tuple[Message, Event]]:
    """Every message of the contract with the event that it decodes to; all are of one order."""
    found = []

    def receive(body: str | bytes | None, metadata: dict[str, Any]) -> None:
        value = body.encode() if isinstance(body, str) else body or b""
        message = Message(
            id=UUID(metadata["eventId"]),
            topic=metadata["topic"],
            type=metadata["eventType"],
            key=metadata["key"],
            value=value,
            occurred_at=NOW,
        )
        event = codec.decode(message)
        assert isinstance(event, Event)
        assert str(event.order_id) == metadata["key"] == ORDER
        found.append((message, event))

    pact.verify(receive, "Async")
    return found

"""What each service of `orchestration` needs of each other one's events, in Pact's terms.

No more than it reads. The files in `contracts/orchestration` are made of it
(`python -m tests.contracts.orchestration_needs`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from pact import Pact, match
from tests.contracts.needs import CONTRACTS as ALL
from tests.contracts.needs import ID, INSTANT, JSON, ORDER

from waybill.blueprints.orchestration import ORCHESTRATION, SERVICES, TOPICS
from waybill.blueprints.orchestration_events import ORDER_PREFIX, OrderCreated
from waybill.commerce.contracts import StockReleased, StockReleaseRequested
from waybill.messaging.core.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from waybill.commerce.contracts import Event

CONTRACTS = ALL / "orchestration"
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_CURRENCY = "^[A-Z]{3}$"
_REASONS = "^(stock_unavailable|payment_refused|customer_cancelled|deadline)$"


def _prefixed(prefix: str, id_: str = ID) -> Callable[[], Any]:
    return lambda: match.regex(f"{prefix}{id_}", regex=f"^{prefix}{_UUID}$")


def _amount() -> Any:  # noqa: ANN401 - a matcher of any value
    return match.number(2400)


def _currency() -> Any:  # noqa: ANN401 - as above
    return match.regex("LKR", regex=_CURRENCY)


def _reason() -> Any:  # noqa: ANN401 - as above
    return match.regex("customer_cancelled", regex=_REASONS)


def _held(**more: Any) -> Any:  # noqa: ANN401 - as above
    return match.each_like({"sku": match.str("SKU-1"), "qty": match.int(2), **more}, min=1)


_CREATED: dict[str, Callable[[], Any]] = {
    "userId": lambda: match.str("usr_001"),
    "items": lambda: _held(price=match.number(1200)),
    "currency": _currency,
    "total": _amount,
}
_MEMBERS: dict[str, dict[str, Callable[[], Any]]] = {
    "OrderCreated": _CREATED,
    "OrderCancelRequested": {},
    "OrderProcessing": {},
    "OrderPaid": {},
    "OrderCompleted": {
        "userId": lambda: match.str("usr_001"),
        "status": lambda: match.regex("CONFIRMED", regex="^(CONFIRMED|FAILED)$"),
        "total": _amount,
        "currency": _currency,
    },
    "RefundRequested": {"amount": _amount, "reason": _reason},
    "InventoryReleaseRequested": {},
    "PaymentSucceeded": {"paymentId": _prefixed("pay_"), "amount": _amount, "items": _held},
    "PaymentFailed": {"reason": _reason},
    "PaymentRefunded": {
        "paymentId": _prefixed("pay_"),
        "refundId": _prefixed("ref_"),
        "amount": _amount,
    },
    "InventoryReserved": {"reservations": _held},
    "InventoryFailed": {"reason": _reason},
    "InventoryReleased": {},
}
"""Of each `data`, beside the order's id."""


def heard(consumer: str, provider: str) -> dict[str, str]:
    """What the consumer acts on of the provider's: topics by the events' names on the wire.

    The orchestrator tells OrderCreated only when a deadline asks again: as it was told before.
    """
    writer = SERVICES[provider]
    found: dict[str, str] = {}
    for topic in SERVICES[consumer].reads_of(writer):
        events = SERVICES[consumer].hears(writer, topic)
        if provider == "orchestrator":
            events = tuple(event for event in events if event is not OrderCreated)
        found |= dict.fromkeys(ORCHESTRATION.wire_names(events), topic)
    return found


def pairs() -> Iterator[tuple[str, str]]:
    """Each consumer with each provider of events that it acts on."""
    for consumer in SERVICES:
        for provider in SERVICES:
            if heard(consumer, provider):
                yield consumer, provider


def event_pact(consumer: str, provider: str) -> Pact:
    """One interaction an event: its record's key, headers and value."""
    pact = Pact(consumer, provider).with_specification("V4")
    for name, topic in heard(consumer, provider).items():
        data = {member: make() for member, make in _MEMBERS[name].items()}
        value = {
            "eventId": match.uuid(ID),
            "traceId": match.str(ORDER),
            "type": name,
            "occurredAt": match.regex("2026-11-21T12:00:00.123456Z", regex=INSTANT),
            "data": {"orderId": _prefixed(ORDER_PREFIX, ORDER)(), **data},
        }
        headers = {
            "topic": topic,
            "key": match.uuid(ORDER),
            "eventId": match.uuid(ID),
            "eventType": name,
            "occurredAt": match.regex("2026-11-21T12:00:00.123456Z", regex=INSTANT),
        }
        pact.upon_receiving(name, "Async").with_body(value, JSON).with_metadata(headers)
    return pact


def release(event: Event) -> Message:
    """What is told only if a cancel comes while stock is being reserved: as the codec writes it.

    On a running platform that is a matter of milliseconds.
    """
    (name,) = ORCHESTRATION.wire_names((type(event),))
    topic = next(topic for topic, events in TOPICS.items() if type(event) in events)
    now = datetime(2026, 11, 21, tzinfo=UTC)
    key = str(event.order_id)
    message = Message(
        id=UUID(ID), topic=topic, type=name, key=key, value=b"", occurred_at=now, correlation_id=key
    )
    value = ORCHESTRATION.codec().encode(event, message)
    return msgspec.structs.replace(message, value=value)


RELEASES = (StockReleaseRequested(order_id=UUID(ORDER)), StockReleased(order_id=UUID(ORDER)))


def write(directory: Path) -> None:
    """One file a contract."""
    directory.mkdir(exist_ok=True)
    for pair in pairs():
        event_pact(*pair).write_file(directory, overwrite=True)


if __name__ == "__main__":
    write(CONTRACTS)

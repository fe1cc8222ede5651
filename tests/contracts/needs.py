"""What each consumer needs of each provider, in Pact's terms: no more than it reads.

The files in `contracts/` are made of it (`python -m tests.contracts.needs`), for providers and
consumers in any language.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact import Pact, match

from waybill.blueprints.choreography import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

os.environ["PACT_DO_NOT_TRACK"] = "true"  # Pact reports to nobody

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
ID = "9b2f1c7a-3f55-4c35-9a3e-0d6f5f3b2a10"
ORDER = "d3f1a8e0-52c4-4d0f-8f0c-6c1b7a9e4b21"
CUSTOMER = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
MOUSE = "11111111-1111-1111-1111-111111111111"
INSTANT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
STATUS = "^(PENDING|STOCK_RESERVED|CONFIRMED|CANCELLED)$"
JSON, PROBLEM = "application/json", "application/problem+json"
SHOP, WAREHOUSE = "shop", "warehouse"


def _instant() -> Any:  # noqa: ANN401 - a matcher of any value
    return match.regex("2026-11-21T12:00:00.123456Z", regex=INSTANT)


def _lines() -> Any:  # noqa: ANN401 - as above
    line = {
        "productId": match.uuid(MOUSE),
        "quantity": match.int(2),
        "unitPrice": match.number(29.99),
    }
    return match.each_like(line, min=1)


def _reason() -> Any:  # noqa: ANN401 - as above
    codes = "^(stock_unavailable|payment_refused|customer_cancelled|deadline)$"
    return match.regex("customer_cancelled", regex=codes)


_AMOUNT: dict[str, Callable[[], Any]] = {
    "totalAmount": lambda: match.number(59.98),
    "currency": lambda: match.regex("EUR", regex="^[A-Z]{3}$"),
}
_MEMBERS: dict[str, dict[str, Callable[[], Any]]] = {
    "OrderCreated": {"customerId": lambda: match.uuid(CUSTOMER), "items": _lines, **_AMOUNT},
    "OrderConfirmed": {},
    "OrderCancelled": {"reason": _reason},
    "StockReleaseRequested": {},
    "RefundRequested": {"amount": lambda: match.number(59.98), "reason": _reason},
    "StockReserved": {"items": _lines, **_AMOUNT},
    "StockRejected": {"reason": _reason},
    "StockReleased": {},
    "PaymentSucceeded": {
        "paymentId": lambda: match.uuid(ID),
        "amount": lambda: match.number(59.98),
    },
    "PaymentFailed": {"reason": _reason},
    "PaymentRefunded": {
        "paymentId": lambda: match.uuid(ID),
        "refundId": lambda: match.uuid(ID),
        "amount": lambda: match.number(59.98),
    },
}
"""Of each payload, beside the order's id."""


def pairs() -> Iterator[tuple[str, str]]:
    """Each consumer with each provider of events that it acts on."""
    for consumer in SERVICES.values():
        for provider in SERVICES.values():
            if consumer.reads_of(provider):
                yield consumer.name, provider.name


def events_of(consumer: str, provider: str) -> tuple[str, list[str]]:
    """The topic, and the names of the events in it that the consumer acts on."""
    (topic,) = SERVICES[consumer].reads_of(SERVICES[provider])
    return topic, [event.__name__ for event in SERVICES[consumer].acts_on[topic]]


def event_pact(consumer: str, provider: str) -> Pact:
    """One interaction an event: its record's key, headers and value."""
    pact = Pact(consumer, provider).with_specification("V4")
    topic, names = events_of(consumer, provider)
    for name in names:
        payload = {member: make() for member, make in _MEMBERS[name].items()}
        envelope = {
            "eventId": match.uuid(ID),
            "eventType": name,
            "occurredAt": _instant(),
            "correlationId": match.uuid(ORDER),
            "version": 1,
            "payload": {"orderId": match.uuid(ORDER), **payload},
        }
        headers = {
            "topic": topic,
            "key": match.uuid(ORDER),
            "eventId": match.uuid(ID),
            "eventType": name,
            "correlationId": match.uuid(ORDER),
            "ce_id": match.uuid(ID),
            "ce_type": name,
            "ce_specversion": "1.0",
        }
        pact.upon_receiving(name, "Async").with_body(envelope, JSON).with_metadata(headers)
    return pact


def order_body(quantity: int = 2) -> dict[str, Any]:
    """What a shop sends."""
    line = {"productId": MOUSE, "quantity": quantity, "unitPrice": 29.99}
    return {"customerId": CUSTOMER, "items": [line], "currency": "EUR"}


def _order(status: str, regex: str) -> dict[str, Any]:
    return {
        "id": match.uuid(ORDER),
        "customerId": CUSTOMER,
        "status": match.regex(status, regex=regex),
        "totalAmount": match.number(59.98),
        "currency": "EUR",
        "items": _lines(),
        "createdAt": _instant(),
        "updatedAt": _instant(),
    }


def shop_pact() -> Pact:
    """What a shop's page needs of the order service."""
    pact = Pact(SHOP, "order-service").with_specification("V4")

    def post(description: str, key: str | None, quantity: int = 2) -> Any:  # noqa: ANN401 - Pact's builder
        asked = pact.upon_receiving(description).with_request("POST", "/api/orders")
        if key is not None:
            asked = asked.with_header("Idempotency-Key", key)
        return asked.with_body(order_body(quantity), JSON)

    def refusal(answer: Any, status: int, code: str) -> None:  # noqa: ANN401 - as above
        answer.will_respond_with(status).with_body({"status": status, "code": code}, PROBLEM)

    new = post("a new order", "contract-1").given("no order has the key", key="contract-1")
    new.will_respond_with(201).with_body(_order("PENDING", "^PENDING$"), JSON)
    refusal(
        post("another order with a used key", "contract-2", 3).given(
            "an order has the key", key="contract-2"
        ),
        409,
        "idempotency_key_reused",
    )
    refusal(post("an order without a key", None), 400, "idempotency_key_missing")
    refusal(
        pact.upon_receiving("an order that is not there").with_request("GET", f"/api/orders/{ID}"),
        404,
        "order_not_found",
    )
    listing = pact.upon_receiving("a customer's orders").given(
        "an order has the key", key="contract-3"
    )
    listing.with_request("GET", "/api/orders").with_query_parameters({"customerId": CUSTOMER})
    page = {"items": match.each_like(_order("CONFIRMED", STATUS), min=1)}
    listing.will_respond_with(200).with_body(page, JSON)
    return pact


def warehouse_pact() -> Pact:
    """What a warehouse's terminal needs of the inventory service."""
    pact = Pact(WAREHOUSE, "inventory-service").with_specification("V4")
    product = {
        "id": MOUSE,
        "name": match.str("Wireless Mouse"),
        "stock": match.int(100),
        "reserved": match.int(0),
    }
    read = pact.upon_receiving("a product").with_request("GET", f"/api/products/{MOUSE}")
    read.will_respond_with(200).with_body(product, JSON)
    counted = pact.upon_receiving("a stocktaking").with_request("PUT", f"/api/products/{MOUSE}")
    counted.with_body({"name": "Wireless Mouse", "stock": 500}, JSON)
    counted.will_respond_with(200).with_body({**product, "stock": 500}, JSON)
    return pact


def all_pacts() -> list[Pact]:
    """Every contract there is."""
    return [*(event_pact(*pair) for pair in pairs()), shop_pact(), warehouse_pact()]


def write(directory: Path) -> None:
    """One file a contract."""
    directory.mkdir(exist_ok=True)
    for pact in all_pacts():
        pact.write_file(directory, overwrite=True)


if __name__ == "__main__":
    write(CONTRACTS)

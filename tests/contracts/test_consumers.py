"""Consumer-driven contracts, the consumers' side: what is promised suffices them (R254)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import pytest
from tests.commerce.support import NOW
from tests.contracts.needs import (
    CONTRACTS,
    CUSTOMER,
    ID,
    MOUSE,
    ORDER,
    all_pacts,
    event_pact,
    events_of,
    order_body,
    pairs,
    shop_pact,
    warehouse_pact,
    write,
)

from waybill.blueprints import choreography
from waybill.commerce.contracts import Event
from waybill.messaging.core.message import Message

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("consumer", "provider"), list(pairs()))
def test_a_consumer_understands_what_it_asks_for(consumer: str, provider: str) -> None:
    """The least that a contract allows decodes to the event, with all that its handler reads."""
    codec = choreography.codec()
    understood = []

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
        understood.append(type(event).__name__)

    event_pact(consumer, provider).verify(receive, "Async")
    assert understood == events_of(consumer, provider)[1]


def test_a_shop_gets_along_with_what_it_asks_for() -> None:
    """Each of its requests is one that the contract knows, with the answer it counts on."""
    with shop_pact().serve() as server, httpx2.Client(base_url=str(server.url)) as client:
        placed = client.post(
            "/api/orders", json=order_body(), headers={"Idempotency-Key": "contract-1"}
        )
        assert (placed.status_code, placed.json()["status"]) == (201, "PENDING")
        used = client.post(
            "/api/orders", json=order_body(3), headers={"Idempotency-Key": "contract-2"}
        )
        assert (used.status_code, used.json()["code"]) == (409, "idempotency_key_reused")
        assert client.post("/api/orders", json=order_body()).status_code == 400
        assert client.get(f"/api/orders/{ID}").status_code == 404
        page = client.get("/api/orders", params={"customerId": CUSTOMER}).json()
        assert page["items"][0]["customerId"] == CUSTOMER


def test_a_warehouse_gets_along_with_what_it_asks_for() -> None:
    """Reading a product, and counting it."""
    with warehouse_pact().serve() as server, httpx2.Client(base_url=str(server.url)) as client:
        product = client.get(f"/api/products/{MOUSE}").json()
        body = {"name": product["name"], "stock": 500}
        assert client.put(f"/api/products/{MOUSE}", json=body).json()["stock"] == 500


def test_the_contracts_of_the_repository_are_these(tmp_path: Path) -> None:
    """What consumers in other repositories fetch; `python -m tests.contracts.needs` writes them."""
    write(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(all_pacts())
    assert {path.name: parsed(path) for path in tmp_path.iterdir()} == {
        path.name: parsed(path) for path in CONTRACTS.glob("*.json")
    }


def parsed(path: Path) -> Any:  # noqa: ANN401 - JSON
    """A contract as it stands in its file."""
    contract = json.loads(path.read_text())
    del contract["metadata"]  # the version of Pact's library
    return contract

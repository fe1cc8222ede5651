"""Consumer-driven contracts, the consumers' side: what is promised suffices them (R254)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.contracts.needs import (
    CONTRACTS,
    CUSTOMER,
    ID,
    MOUSE,
    all_pacts,
    event_pact,
    events_of,
    order_body,
    pairs,
    shop_pact,
    warehouse_pact,
    write,
)
from tests.contracts.understanding import understood

from waybill.blueprints import choreography

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("consumer", "provider"), list(pairs()))
def test_a_consumer_understands_what_it_asks_for(consumer: str, provider: str) -> None:
    """The least that a contract allows decodes to the event, with all that its handler reads."""
    read = understood(event_pact(consumer, provider), choreography.codec())
    assert [type(event).__name__ for _, event in read] == events_of(consumer, provider)[1]


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

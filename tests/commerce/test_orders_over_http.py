"""The edge on the real stores: what HTTP promises is what the tables hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from tests.http.edge_memory import MOUSE, Responses, order_body

from waybill.blueprints import choreography
from waybill.commerce.inventory import api as inventory_api
from waybill.commerce.inventory.catalogue import Catalogue
from waybill.commerce.orders import api as orders_api
from waybill.commerce.orders.cancellation import Cancellation
from waybill.commerce.orders.handlers import OrderHandler
from waybill.commerce.orders.intake import OrderFlush, OrderIntake
from waybill.commerce.orders.reads import OrderPages
from waybill.messaging.core.identity import new_id
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.commerce.support import Service

    from waybill.commerce.http.surface import Surface
    from waybill.messaging.runtime.loop import Loop

COUNTS = """
SELECT (SELECT count(*) FROM app.orders), (SELECT count(*) FROM app.idempotency_keys),
       (SELECT count(*) FROM messaging.outbox)
"""


def _client(service: Service, surface: Surface) -> httpx2.AsyncClient:
    parts = HttpParts(
        title=service.ports.producer,
        version="0",
        health=Health({}),
        registry=CollectorRegistry(),
        observer=Responses(),
        now=service.clock.now,
    )
    transport = httpx2.ASGITransport(app=create_application(surface, parts))
    return httpx2.AsyncClient(transport=transport, base_url="http://service")


@contextlib.asynccontextmanager
async def _running(loop: Loop) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        loop.stop()
        await task


@pytest.fixture
async def orders(order: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the order service."""
    flush = OrderFlush(
        order.ports,
        process=choreography.PROCESS,
        deadline=timedelta(minutes=15),
        counters=order.tally,
        store=order.stores.orders,
    )
    intake = OrderIntake(flush, order.ports)
    handler = OrderHandler(choreography.PROCESS, order.tally, store=order.stores.orders)
    surface = orders_api.surface(
        intake=intake,
        reads=OrderPages(order.database, choreography.PROCESS, store=order.stores.orders),
        cancellations=Cancellation(order.ports, handler),
    )
    async with _running(intake.loop), _client(order, surface) as client:
        yield client


@pytest.fixture
async def products(inventory: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the inventory service."""
    catalogue = Catalogue(inventory.database, inventory.clock.now, inventory.stores.stock)
    surface = inventory_api.products_surface(catalogue, new_id)
    async with _client(inventory, surface) as client:
        yield client


async def _place(client: httpx2.AsyncClient, key: str, **changes: Any) -> httpx2.Response:  # noqa: ANN401 - any JSON
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    # json.dumps escapes what UTF-8 cannot say
    content = json.dumps(order_body(**changes)).encode()
    return await client.post("/api/orders", content=content, headers=headers)


async def test_an_order_is_placed_replayed_and_shown(
    order: Service, orders: httpx2.AsyncClient
) -> None:
    """P1, P5: what 201 says is in the tables; its replay is the same bytes."""
    placed = await _place(orders, "demo-001")
    assert placed.status_code == 201, placed.text
    replayed = await _place(orders, "demo-001")
    assert (replayed.status_code, replayed.content) == (200, placed.content)
    other = await _place(orders, "demo-001", currency="USD")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert await order.rows(COUNTS) == [(1, 1, 1)]
    shown = await orders.get(f"/api/orders/{placed.json()['id']}")
    assert shown.json() == placed.json()
    timeline = await orders.get(f"/api/orders/{placed.json()['id']}/timeline")
    assert timeline.json()["entries"][0]["toStatus"] == "PENDING"


async def test_first_requests_at_once_are_one_order(
    order: Service, orders: httpx2.AsyncClient
) -> None:
    """Defect D14: concurrent first requests with one key are one 201 and replays, never a 500."""
    answers = await asyncio.gather(*(_place(orders, "one") for _ in range(20)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 19 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert await order.rows(COUNTS) == [(1, 1, 1)]


async def test_nothing_of_a_refused_request_is_stored(
    order: Service, orders: httpx2.AsyncClient
) -> None:
    """I02: a rejected request left no order, no key and no event."""
    line = {"productId": str(MOUSE), "quantity": 1, "unitPrice": 1}
    bad: list[dict[str, Any]] = [
        {"items": []},
        {"items": [line] * 101},
        {"items": [None]},
        {"items": [{**line, "quantity": 2**63}]},
        {"items": [{**line, "unitPrice": 0.015}]},
        {"items": [{**line, "unitPrice": "9999999999.99", "quantity": 2}]},
        {"customerId": "\0"},
        {"currency": "\ud800"},
    ]
    for number, changes in enumerate(bad):
        answer = await _place(orders, f"bad-{number}", **changes)
        assert answer.status_code == 400, changes
        assert answer.json()["errors"]
    assert (await _place(orders, "k" * 65)).status_code == 400
    assert await order.rows(COUNTS) == [(0, 0, 0)]


async def test_every_accepted_amount_is_stored_as_it_is(orders: httpx2.AsyncClient) -> None:
    """Protocol I6: the edge lets nothing through that the tables refuse or change."""
    chance = random.Random(7)  # noqa: S311 - test data
    prices = ["0.01", "9999999999.99", "29.990", "1e2", 100, "100"]
    prices += [f"{chance.randrange(1, 10**12) / 100:.2f}" for _ in range(20)]
    for number, price in enumerate(prices):
        line = {"productId": str(MOUSE), "quantity": 1, "unitPrice": price}
        answer = await _place(orders, f"price-{number}", items=[line])
        if price == "1e2":  # only a JSON number may have an exponent
            assert answer.status_code == 400
            continue
        assert answer.status_code == 201, (price, answer.text)
        shown = await orders.get(f"/api/orders/{answer.json()['id']}")
        assert shown.json() == answer.json()


async def test_orders_are_listed_page_by_page(orders: httpx2.AsyncClient) -> None:
    """API4: newest first, every order once, by customer and status."""
    placed = [(await _place(orders, f"key-{n}")).json()["id"] for n in range(5)]
    seen: list[str] = []
    path: str | None = "/api/orders?limit=2&status=PENDING"
    while path is not None:
        answer = await orders.get(path)
        seen += [found["id"] for found in answer.json()["items"]]
        link = answer.headers.get("link")
        path = link[1:].split(">")[0] if link else None
    assert seen == placed[::-1]
    assert (await orders.get("/api/orders?status=CONFIRMED")).json()["items"] == []


async def test_a_customer_cancels(orders: httpx2.AsyncClient) -> None:
    """C33: the wish is a fact, the order is shown as it stands; unknown orders are 404."""
    placed = (await _place(orders, "cancel-me")).json()
    for _ in range(2):
        answer = await orders.post(f"/api/orders/{placed['id']}/cancel")
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] in {"PENDING", "CANCELLED"}
    assert (await orders.post(f"/api/orders/{new_id()}/cancel")).status_code == 404


async def test_products_are_made_and_changed(
    inventory: Service, products: httpx2.AsyncClient
) -> None:
    """Seeded products are there; a change of stock is a ledger entry."""
    listed = (await products.get("/api/products")).json()["items"]
    assert len(listed) == 5
    assert (listed[0]["name"], listed[0]["stock"]) == ("Wireless Mouse", 100)
    made = await products.post("/api/products", json={"name": "Lamp", "stock": 12})
    path = made.headers["location"]
    changed = await products.put(path, json={"name": "Desk Lamp", "stock": 5})
    assert changed.json() == (await products.get(path)).json()
    assert changed.json()["stock"] == 5
    ledger = await inventory.rows(
        "SELECT kind, d_available FROM app.stock_ledger WHERE product_id = $1 ORDER BY at, kind",
        UUID(changed.json()["id"]),
    )
    assert sorted(ledger) == [("adjust", -7), ("initial", 12)]

"""Seed 004 as its users meet it: a platform of `orchestration`, over HTTP, with its own tables."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from pact import Verifier
from tests.acceptance.database import rows
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.contracts.orchestration_needs import CONTRACTS, RELEASES, heard, pairs, release
from tests.contracts.test_providers import published, travelling

from waybill.commerce.payments.simulation import simulated_success

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from tests.acceptance.conftest import NewPlatform

pytestmark = pytest.mark.acceptance
ORDER_SERVICE, PAYMENT_SERVICE, INVENTORY_SERVICE, NOTIFICATION, ORCHESTRATOR = range(1, 6)
SUCCESS_RATE = 0.6
DELAY_SECONDS = 0.3
"""Of a charge: long enough for a customer to change their mind."""


def environment(**more: str) -> dict[str, str]:
    """Of a platform of this blueprint whose payments are refused now and then."""
    return {
        "WAYBILL_BLUEPRINT": "orchestration",
        "WAYBILL_PAYMENT_SUCCESS_RATE": str(SUCCESS_RATE),
        "WAYBILL_PAYMENT_DELAY_SECONDS": str(DELAY_SECONDS),
        **more,
    }


@pytest.fixture(scope="module")
def platform(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint on new data."""
    with new_platform(**environment()) as platform:
        yield platform.start()


def stock(platform: PlatformProcess, sku: str, quantity: int) -> None:
    """PUT that much of a SKU."""
    url = f"{platform.url(INVENTORY_SERVICE)}/api/inventory/{sku}"
    assert platform.client.put(url, json={"availableQty": quantity}).status_code == 200


def level(platform: PlatformProcess, sku: str) -> tuple[int, int]:
    """Available and reserved of a SKU."""
    url = f"{platform.url(INVENTORY_SERVICE)}/api/inventory/{sku}"
    found = platform.client.get(url).json()
    return found["availableQty"], found["reservedQty"]


def place(
    platform: PlatformProcess, sku: str, qty: int, path: str = "/api/v1/orders", **headers: str
) -> httpx2.Response:
    """POST one order."""
    return platform.client.post(
        platform.url(ORDER_SERVICE) + path,
        json={
            "userId": "usr_001",
            "items": [{"sku": sku, "qty": qty, "price": 1200}],
            "currency": "LKR",
        },
        headers=headers,
    )


def bare(order_id: str) -> UUID:
    """The id behind its prefix."""
    assert order_id.startswith("ord_")
    return UUID(order_id.removeprefix("ord_"))


def placed(platform: PlatformProcess, sku: str, qty: int, *, is_paid: bool) -> str:
    """An order that the simulator will capture, or refuse: orders until there is one."""
    for _ in range(40):
        order_id: str = place(platform, sku, qty).json()["orderId"]
        if simulated_success(bare(order_id), success_rate=SUCCESS_RATE) == is_paid:
            return order_id
    raise AssertionError("the simulator never answers so")


def get(platform: PlatformProcess, order_id: str) -> dict[str, Any]:
    """The order as GET shows it."""
    found = platform.client.get(f"{platform.url(ORDER_SERVICE)}/api/v1/orders/{order_id}")
    body: dict[str, Any] = found.json()
    return body


def becomes(platform: PlatformProcess, order_id: str, status: str) -> dict[str, Any]:
    """Wait until the order has this status; the order."""

    def there() -> dict[str, Any] | None:
        order = get(platform, order_id)
        return order if order["status"] == status else None

    return wait_for(there, 30, f"order {order_id} is {status}")


def payment_of(platform: PlatformProcess, order_id: str) -> str | None:
    """The status of its payment, if it has one."""
    url = f"{platform.url(PAYMENT_SERVICE)}/api/payments"
    found = platform.client.get(url, params={"orderId": str(bare(order_id))}).json()["items"]
    return found[0]["status"] if found else None


def events_of(order: dict[str, Any]) -> list[str]:
    """Its timeline, which is in the order of time."""
    moments = order["timeline"]
    assert [each["at"] for each in moments] == sorted(each["at"] for each in moments)
    return [each["event"] for each in moments]


def test_an_order_is_paid_reserved_and_completed(platform: PlatformProcess) -> None:
    """202 PENDING, then CONFIRMED with the documented timeline; user and log are told of it."""
    stock(platform, "SKU-1", 100)
    answer = place(platform, "SKU-1", 1)
    order_id = answer.json()["orderId"]
    assert (answer.status_code, answer.json()) == (202, {"orderId": order_id, "status": "PENDING"})
    order_id = placed(platform, "SKU-1", 2, is_paid=True)
    order = becomes(platform, order_id, "CONFIRMED")
    assert (order["orderId"], order["total"]) == (order_id, 2400)
    assert events_of(order) == [
        "OrderCreated",
        "PaymentSucceeded",
        "InventoryReserved",
        "OrderCompleted",
    ]
    text = f"[EMAIL] Order {order_id} is confirmed: 2400"
    wait_for(lambda: text in platform.log.read_text() or None, 20, "the mail's line")


def test_the_orchestrator_shows_where_a_process_stands(platform: PlatformProcess) -> None:
    """Its own database has facts, steps and what it told others (8085)."""
    stock(platform, "SKU-2", 100)
    order_id = placed(platform, "SKU-2", 1, is_paid=True)
    becomes(platform, order_id, "CONFIRMED")
    found = platform.client.get(f"{platform.url(ORCHESTRATOR)}/api/v1/sagas/{order_id}").json()
    assert (found["status"], found["reason"]) == ("CONFIRMED", None)
    assert found["settledAt"] is not None
    assert set(found["facts"]) == {"OrderCreated", "PaymentSucceeded", "StockReserved"}
    told = "SELECT type FROM app.saga_commands WHERE order_id = $1 ORDER BY seq"
    types = [row["type"] for row in rows(platform.data, "orchestrator", told, bare(order_id))]
    assert types == ["OrderProcessing", "OrderPaid"]
    unknown = f"{platform.url(ORCHESTRATOR)}/api/v1/sagas/ord_01a2008e-ff70-74b0-af40-8c4c82c9b53d"
    assert platform.client.get(unknown).status_code == 404


def test_a_refused_payment_fails_the_order(platform: PlatformProcess) -> None:
    """FAILED by PaymentFailed; no stock is touched."""
    stock(platform, "SKU-3", 1)
    order_id = placed(platform, "SKU-3", 5, is_paid=False)
    order = becomes(platform, order_id, "FAILED")
    assert events_of(order) == ["OrderCreated", "PaymentFailed", "OrderCompleted"]
    assert level(platform, "SKU-3") == (1, 0)


def test_an_order_without_stock_is_refunded(platform: PlatformProcess) -> None:
    """FAILED by InventoryFailed, and the money goes back."""
    stock(platform, "SKU-4", 1)
    order_id = placed(platform, "SKU-4", 2, is_paid=True)
    order = becomes(platform, order_id, "FAILED")
    assert events_of(order) == [
        "OrderCreated",
        "PaymentSucceeded",
        "InventoryFailed",
        "OrderCompleted",
    ]
    wait_for(lambda: payment_of(platform, order_id) == "REFUNDED" or None, 20, "the refund")
    assert level(platform, "SKU-4") == (1, 0)
    completed = (
        "SELECT payload FROM messaging.outbox WHERE aggregateid = $1 AND type = 'OrderCompleted'"
    )
    (row,) = rows(platform.data, "orchestrator", completed, str(bare(order_id)))
    data = json.loads(row["payload"])["data"]
    assert (data["status"], data["reason"]) == ("FAILED", "stock_unavailable")
    assert (data["userId"], data["total"], data["currency"]) == ("usr_001", 2400, "LKR")


def test_a_cancel_is_a_wish(platform: PlatformProcess) -> None:
    """M8: 202, the order as it stands; the orchestrator ends it, and nothing stays taken."""
    stock(platform, "SKU-5", 1)
    named = {"X-Correlation-Id": "shop-4713"}
    order_id = place(platform, "SKU-5", 1, **named).json()["orderId"]
    cancel = f"{platform.url(ORDER_SERVICE)}/api/v1/orders/{order_id}/cancel"
    answer = platform.client.post(cancel)
    assert answer.status_code == 202
    assert answer.json()["status"] in {"PENDING", "PROCESSING"}
    assert platform.client.post(cancel).status_code == 202
    order = becomes(platform, order_id, "FAILED")
    assert events_of(order)[-2:] == ["OrderCancelRequested", "OrderCompleted"]
    assert platform.client.post(cancel).status_code == 202
    wait_for(
        lambda: payment_of(platform, order_id) in {"FAILED", "REFUNDED"} or None, 20, "the money"
    )
    wait_for(lambda: level(platform, "SKU-5") == (1, 0) or None, 20, "the stock")
    told = "SELECT type, correlation_id FROM messaging.outbox WHERE aggregateid = $1"
    for service in ("order", "orchestrator", "payment"):
        found = rows(platform.data, service, told, str(bare(order_id)))
        assert {row["correlation_id"] for row in found} == {"shop-4713"}


def test_a_confirmed_order_is_not_cancelled(platform: PlatformProcess) -> None:
    """409; an unknown order is 404."""
    stock(platform, "SKU-6", 100)
    order_id = placed(platform, "SKU-6", 1, is_paid=True)
    becomes(platform, order_id, "CONFIRMED")
    orders = f"{platform.url(ORDER_SERVICE)}/api/v1/orders"
    refused = platform.client.post(f"{orders}/{order_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "order_not_cancellable")
    nobody = f"{orders}/ord_01a2008e-ff70-74b0-af40-8c4c82c9b53d"
    assert platform.client.get(nobody).status_code == 404
    assert platform.client.post(f"{nobody}/cancel").status_code == 404
    assert platform.client.get(f"{orders}/ord_abc123").status_code == 400


def test_a_used_key_is_refused_with_the_first_orders_id(platform: PlatformProcess) -> None:
    """409 for the same payload and for another one; without a key each request is an order."""
    stock(platform, "SKU-7", 100)
    key = {"Idempotency-Key": "client-request-1"}
    first = place(platform, "SKU-7", 1, **key).json()["orderId"]
    for qty, path in ((1, "/api/v1/orders"), (2, "/api/v1/orders"), (1, "/orders")):
        again = place(platform, "SKU-7", qty, path, **key)
        assert (again.status_code, again.json()["orderId"]) == (409, first)
        assert again.headers["content-type"] == "application/problem+json"
    without = {place(platform, "SKU-7", 1).json()["orderId"] for _ in range(2)}
    assert len(without) == 2


def test_the_documents_other_path_is_the_same(platform: PlatformProcess) -> None:
    """POST /orders, and GET below it; what is not valid is 400 there, too."""
    stock(platform, "SKU-8", 100)
    answer = place(platform, "SKU-8", 1, "/orders")
    assert answer.status_code == 202
    url = f"{platform.url(ORDER_SERVICE)}/orders/{answer.json()['orderId']}"
    assert platform.client.get(url).json()["orderId"] == answer.json()["orderId"]
    refused = platform.client.post(f"{platform.url(ORDER_SERVICE)}/orders", json={"items": []})
    assert refused.status_code == 400
    assert {each["pointer"] for each in refused.json()["errors"]} == {
        "#/userId",
        "#/items",
        "#/currency",
    }


def test_the_documented_tables_are_there(platform: PlatformProcess) -> None:
    """orders, order_items and outbox as views in the schema `orchestration`."""
    stock(platform, "SKU-9", 100)
    order_id = bare(place(platform, "SKU-9", 3).json()["orderId"])
    (order,) = rows(
        platform.data, "order", "SELECT * FROM orchestration.orders WHERE id = $1", order_id
    )
    assert list(order) == [
        *("id", "user_id", "status", "total", "currency", "created_at", "updated_at")
    ]
    assert (order["user_id"], order["total"]) == ("usr_001", 3600)
    items = "SELECT sku, qty, price FROM orchestration.order_items WHERE order_id = $1"
    (item,) = rows(platform.data, "order", items, order_id)
    assert tuple(item.values()) == ("SKU-9", 3, 1200)
    outbox = "SELECT * FROM orchestration.outbox WHERE aggregate_id = $1"
    (row,) = rows(platform.data, "order", outbox, str(order_id))
    assert list(row) == ["id", "aggregate_id", "event_type", "payload", "created_at", "published"]
    assert (row["event_type"], json.loads(row["payload"])["data"]["total"]) == (
        "OrderCreated",
        3600,
    )


def test_operators_see_the_orchestrator(platform: PlatformProcess) -> None:
    """It is a service as the others: psql, its consumer, its health and metrics."""
    found = platform.run("psql", "orchestrator", "-c", "SELECT count(*) FROM app.sagas")
    assert found.returncode == 0, found.stderr
    listed = platform.run("consumers", "list", "--json")
    lines = [json.loads(line) for line in listed.stdout.splitlines()]
    readings = {(each["consumer"], each["source"]) for each in lines}
    assert {("orchestrator", "order-service"), ("order-service", "orchestrator")} <= readings
    assert all(each["lag"] >= 0 for each in lines)
    metrics = platform.client.get(f"{platform.url(ORCHESTRATOR)}/actuator/prometheus").text
    assert 'saga_active{application="orchestrator",saga="orchestration"}' in metrics
    assert platform.client.get(f"{platform.url(ORCHESTRATOR)}/readyz").status_code == 200


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket")
def test_published_events_hold_what_consumers_need(platform: PlatformProcess) -> None:
    """R254: the records of all of the above, each against the contract of each consumer."""
    records = {message.type: travelling(message) for message in map(release, RELEASES)}
    records |= published(platform, ("orchestrator", "order", "inventory", "payment"))
    assert {name for pair in pairs() for name in heard(*pair)} <= set(records)
    for provider in sorted({provider for _, provider in pairs()}):
        verifier = Verifier(provider).message_handler(dict(records.items()))
        for consumer, other in pairs():
            if other == provider:
                verifier.add_source(CONTRACTS / f"{consumer}-{provider}.json")
        verifier.verify()
        del verifier
        gc.collect()  # the sockets of Pact's own small servers, which it leaves to that


def test_a_killed_platform_goes_on_where_it_was(platform: PlatformProcess) -> None:
    """SIGKILL of all of it while orders are under way: every one ends."""
    stock(platform, "SKU-10", 10)
    orders = [place(platform, "SKU-10", 1).json()["orderId"] for _ in range(20)]
    platform.kill()
    platform.start()

    def ended() -> bool | None:
        statuses = {get(platform, order_id)["status"] for order_id in orders}
        return True if statuses <= {"CONFIRMED", "FAILED"} else None

    wait_for(ended, 60, "every order has ended")


def test_the_audit_is_clean(platform: PlatformProcess) -> None:
    """After all of it, the orchestrator's books included."""
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "audit: clean" in report.stdout

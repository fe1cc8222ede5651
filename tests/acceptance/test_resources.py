"""What the documents imply and a user needs besides: lists, timeline, cancel, products, books."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from tests.acceptance.database import rows, value
from tests.acceptance.processes import KEYBOARD, MOUSE, wait_for

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from tests.acceptance.processes import PlatformProcess

HUB = "33333333-3333-3333-3333-333333333333"
MONITOR = "44444444-4444-4444-4444-444444444444"
LEDGER = """
SELECT kind, d_available::int, d_reserved::int, d_sold::int FROM app.stock_ledger
WHERE product_id = $1 AND order_id IS NULL ORDER BY at
"""


def place(platform: PlatformProcess, customer: str, product: str, quantity: int = 1) -> str:
    """POST an order of this customer; its id."""
    line = {"productId": product, "quantity": quantity, "unitPrice": 5}
    answer = platform.client.post(
        f"{platform.url(1)}/api/orders",
        json={"customerId": customer, "items": [line]},
        headers={"Idempotency-Key": str(new_id())},
    )
    assert answer.status_code == 201, answer.text
    order_id: str = answer.json()["id"]
    return order_id


def get(platform: PlatformProcess, offset: int, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
    """The body of a GET that must succeed."""
    answer = platform.client.get(platform.url(offset) + path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pages(platform: PlatformProcess, **query: str) -> list[list[dict[str, Any]]]:
    """Every page of the list of orders, by its cursors."""
    found, cursor = [], ""
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = get(platform, 1, "/api/orders", **query, **more)
        found.append(page["items"])
        cursor = page["nextCursor"]
        if not cursor:
            return found


def test_orders_are_listed_by_customer_and_status_in_pages(
    shared_platform: PlatformProcess,
) -> None:
    """Newest first, each order on exactly one page, whatever the page's size."""
    customer = str(new_id())
    placed = [place(shared_platform, customer, HUB) for _ in range(4)]
    placed.append(place(shared_platform, customer, MONITOR, 9999))
    for order_id in placed:
        shared_platform.ended(order_id)
    newest_first = sorted(placed, reverse=True)
    found = pages(shared_platform, customerId=customer, limit="2")
    assert [len(page) for page in found] == [2, 2, 1]
    assert [order["id"] for page in found for order in page] == newest_first
    confirmed = pages(shared_platform, customerId=customer, status="CONFIRMED", limit="100")
    assert [order["id"] for order in confirmed[0]] == sorted(placed[:4], reverse=True)
    cancelled = pages(shared_platform, customerId=customer, status="CANCELLED")
    assert [order["id"] for order in cancelled[0]] == placed[4:]


@pytest.mark.parametrize("query", ["status=OPEN", "limit=0", "cursor=%00", "customer=x"])
def test_a_filter_that_is_none_is_refused(shared_platform: PlatformProcess, query: str) -> None:
    """A misspelt filter is 400: it must not show everybody's orders."""
    answer = shared_platform.client.get(f"{shared_platform.url(1)}/api/orders?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_the_timeline_tells_the_way(shared_platform: PlatformProcess) -> None:
    """I05-I08: from PENDING over STOCK_RESERVED to CONFIRMED, each edge with its fact."""
    order_id = place(shared_platform, str(new_id()), HUB)
    shared_platform.ended(order_id)
    timeline = get(shared_platform, 1, f"/api/orders/{order_id}/timeline")
    assert timeline["orderId"] == order_id
    edges = [(e["event"], e["fromStatus"], e["toStatus"]) for e in timeline["entries"]]
    assert edges == [
        ("OrderCreated", None, "PENDING"),
        ("StockReserved", "PENDING", "STOCK_RESERVED"),
        ("PaymentSucceeded", "STOCK_RESERVED", "CONFIRMED"),
    ]
    assert [e["sequence"] for e in timeline["entries"]] == [1, 2, 3]


def test_out_of_stock_is_cancelled_and_told(shared_platform: PlatformProcess) -> None:
    """R157: no stock, so CANCELLED with the reason, nothing paid, nothing released."""
    order_id = place(shared_platform, str(new_id()), MONITOR, 9999)
    assert shared_platform.ended(order_id)["status"] == "CANCELLED"
    timeline = get(shared_platform, 1, f"/api/orders/{order_id}/timeline")["entries"]
    assert [entry["event"] for entry in timeline][:2] == ["OrderCreated", "StockRejected"]
    wait_for(lambda: notified(shared_platform, order_id), 30, "the customer is told")
    (mail,) = notified(shared_platform, order_id)
    assert mail["eventType"] == "OrderCancelled"
    assert mail["message"].startswith(f"Order {order_id} has been cancelled. Reason: ")
    kept = [p for p in paid(shared_platform, order_id) if p["status"] != "FAILED"]
    assert kept == []
    types = "SELECT type FROM messaging.outbox WHERE aggregateid = $1 ORDER BY seq"
    sent = [row["type"] for row in rows(shared_platform.data, "order", types, order_id)]
    assert sent == ["OrderCreated", "OrderCancelled"]


def notified(platform: PlatformProcess, order_id: str) -> list[dict[str, Any]]:
    """The notifications of an order."""
    found: list[dict[str, Any]] = get(platform, 4, "/api/notifications", orderId=order_id)["items"]
    return found


def paid(platform: PlatformProcess, order_id: str) -> list[dict[str, Any]]:
    """The payments of an order."""
    found: list[dict[str, Any]] = get(platform, 2, "/api/payments", orderId=order_id)["items"]
    return found


def test_the_books_of_an_order_are_shown(shared_platform: PlatformProcess) -> None:
    """R216, R203: one payment over the total, one notification with the documents' words."""
    order_id = place(shared_platform, str(new_id()), MOUSE, 2)
    shared_platform.ended(order_id)
    (payment,) = paid(shared_platform, order_id)
    assert (payment["status"], payment["amount"], payment["orderId"]) == ("SUCCEEDED", 10, order_id)
    wait_for(lambda: notified(shared_platform, order_id), 30, "the customer is told")
    (mail,) = notified(shared_platform, order_id)
    assert mail["message"] == f"Order {order_id} has been confirmed. Thank you for your purchase!"


def test_cancel_is_a_fact_and_a_confirmed_order_stays(shared_platform: PlatformProcess) -> None:
    """C33: after CONFIRMED 409, after CANCELLED 200, unknown 404."""

    def cancel(order_id: str) -> tuple[int, dict[str, Any]]:
        url = f"{shared_platform.url(1)}/api/orders/{order_id}/cancel"
        answer = shared_platform.client.post(url)
        return answer.status_code, answer.json()

    confirmed = place(shared_platform, str(new_id()), HUB)
    shared_platform.ended(confirmed)
    status, body = cancel(confirmed)
    assert (status, body["code"]) == (409, "order_not_cancellable")
    cancelled = place(shared_platform, str(new_id()), MONITOR, 9999)
    shared_platform.ended(cancelled)
    for _ in range(2):
        status, body = cancel(cancelled)
        assert (status, body["status"]) == (200, "CANCELLED")
    assert cancel(str(new_id()))[0] == 404


def test_products_are_made_and_their_stock_is_a_ledger(shared_platform: PlatformProcess) -> None:
    """I30, I31: POST and PUT write ledger entries; the stock is their sum, never an overwrite."""
    url = f"{shared_platform.url(3)}/api/products"
    made = shared_platform.client.post(url, json={"name": "Desk Lamp", "stock": 12})
    assert made.status_code == 201
    lamp = made.json()
    assert made.headers["Location"].endswith(f"/api/products/{lamp['id']}")
    assert lamp == {"id": lamp["id"], "name": "Desk Lamp", "stock": 12, "reserved": 0}
    again = shared_platform.client.post(url, json={**lamp, "reserved": 0})
    assert again.status_code == 400  # reserved is not the caller's to say
    again = shared_platform.client.post(url, json={"id": lamp["id"], "name": "Lamp", "stock": 1})
    assert (again.status_code, again.json()["code"]) == (409, "product_exists")
    order_id = place(shared_platform, str(new_id()), lamp["id"], 2)
    shared_platform.ended(order_id)
    changed = shared_platform.client.put(f"{url}/{lamp['id']}", json={"name": "Lamp", "stock": 7})
    assert changed.status_code == 200
    shown = get(shared_platform, 3, f"/api/products/{lamp['id']}")
    assert (shown["name"], shown["stock"]) == ("Lamp", 7)
    found = rows(shared_platform.data, "inventory", LEDGER, UUID(lamp["id"]))
    assert [tuple(row.values()) for row in found] == [("initial", 12, 0, 0), ("adjust", -3, 0, 0)]
    total = "SELECT sum(d_available)::int FROM app.stock_ledger WHERE product_id = $1"
    assert value(shared_platform.data, "inventory", total, UUID(lamp["id"])) == 7
    unknown = shared_platform.client.put(f"{url}/{new_id()}", json={"name": "X", "stock": 1})
    assert unknown.status_code == 404


def test_the_seeded_products_are_there(shared_platform: PlatformProcess) -> None:
    """R109: the documents' five, by id and name."""
    names = {p["id"]: p["name"] for p in get(shared_platform, 3, "/api/products")["items"]}
    assert {
        MOUSE: "Wireless Mouse",
        KEYBOARD: "Mechanical Keyboard",
        HUB: "USB-C Hub",
        MONITOR: '27" Monitor',
        "55555555-5555-5555-5555-555555555555": "Laptop Stand",
    }.items() <= names.items()

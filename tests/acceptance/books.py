"""The sums that must hold once every order has ended and every undo is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.acceptance.database import rows, value
from tests.acceptance.processes import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.processes import PlatformProcess

UNSETTLED = "SELECT count(*) FROM app.orders WHERE settled_at IS NULL"
ENDINGS = "SELECT id, status, total_amount FROM app.orders"
SOLD = """
SELECT product_id, sum(quantity) AS units FROM order_items
JOIN orders ON orders.id = order_id WHERE status = 'CONFIRMED' GROUP BY product_id
"""
PRODUCTS = """
SELECT p.id, p.available, p.reserved, p.sold, l.available AS l_available,
       l.reserved AS l_reserved, l.sold AS l_sold
FROM app.products AS p JOIN (
    SELECT product_id, sum(d_available) AS available, sum(d_reserved) AS reserved,
           sum(d_sold) AS sold FROM app.stock_ledger GROUP BY product_id
) AS l ON l.product_id = p.id
"""
KEPT = """
SELECT c.order_id, sum(c.amount) - coalesce(sum(r.amount), 0) AS amount, count(*) AS captures
FROM app.charges AS c LEFT JOIN app.refunds AS r ON r.charge_key = c.idempotency_key
WHERE c.outcome = 'CAPTURED' GROUP BY c.order_id
"""
BOOKED = "SELECT order_id, amount FROM app.payments WHERE status = 'SUCCEEDED'"
NOTIFIED = "SELECT order_id, kind, status FROM app.notifications"


def assert_balanced(platform: PlatformProcess, seconds: float = 90) -> None:
    """Every order terminal and settled; stock, money and notifications as the orders say.

    Invariants I03, I29-I38 and I42, from the databases alone.
    """
    data = platform.data
    wait_for(lambda: at_rest(data), seconds, "every order settled, all books closed")
    endings = rows(data, "order", ENDINGS)
    assert {order["status"] for order in endings} <= {"CONFIRMED", "CANCELLED"}
    _assert_stock(data)
    _assert_money(data, endings)
    expected = {(order["id"], f"Order{order['status'].title()}") for order in endings}
    notified = rows(data, "notification", NOTIFIED)
    assert {(row["order_id"], row["kind"]) for row in notified} == expected
    assert len(notified) == len(expected)


def at_rest(data: Path) -> bool:
    """Nothing is under way: no open order, no held stock, no call that is owed."""
    if value(data, "order", UNSETTLED):
        return False
    if value(data, "inventory", "SELECT sum(reserved) FROM app.products"):
        return False
    owed = "SELECT count(*) FROM messaging.deliveries WHERE state = 'PENDING'"
    if value(data, "payment", owed) or value(data, "notification", owed):
        return False
    told = value(data, "notification", "SELECT count(*) FROM app.notifications")
    return bool(told == value(data, "order", "SELECT count(*) FROM app.orders"))


def _assert_stock(data: Path) -> None:
    sold = {row["product_id"]: row["units"] for row in rows(data, "order", SOLD)}
    for row in rows(data, "inventory", PRODUCTS):
        assert row["sold"] == sold.get(row["id"], 0)
        for column in ("available", "reserved", "sold"):
            assert row[column] == row[f"l_{column}"]
            assert row[column] >= 0


def _assert_money(data: Path, endings: list[dict[str, Any]]) -> None:
    due = {o["id"]: o["total_amount"] for o in endings if o["status"] == "CONFIRMED"}
    kept = rows(data, "provider", KEPT)
    assert {row["order_id"]: row["amount"] for row in kept if row["amount"]} == due
    assert all(row["captures"] == 1 for row in kept)
    assert {row["order_id"]: row["amount"] for row in rows(data, "payment", BOOKED)} == due

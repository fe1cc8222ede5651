"""The sums that must hold once every order has ended and every undo is answered."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2
from processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from processes import PlatformProcess

TERMINAL = {"CONFIRMED", "CANCELLED"}


def all_orders(platform: PlatformProcess) -> list[dict[str, Any]]:
    """Every order, through the cursor pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        query = {"limit": "100", **({"cursor": cursor} if cursor else {})}
        page = platform.client.get(f"{platform.url(1)}/api/orders", params=query).json()
        found += page["items"]
        cursor = page.get("nextCursor") or ""
        if not cursor:
            return found


def assert_balanced(platform: PlatformProcess, before: dict[str, dict[str, Any]]) -> None:
    """Every order terminal, nothing reserved, stock down by what was sold, money as sold."""

    def at_rest() -> bool:
        try:
            open_orders = [o for o in all_orders(platform) if o["status"] not in TERMINAL]
            reserved = [p for p in platform.products().values() if p["reserved"]]
        except (httpx2.TransportError, KeyError):
            return False
        return not open_orders and not reserved

    wait_for(at_rest, 60, "every order ended and no stock reserved")
    orders = all_orders(platform)
    confirmed = [order for order in orders if order["status"] == "CONFIRMED"]
    sold: dict[str, int] = {}
    for order in confirmed:
        for line in order["items"]:
            sold[line["productId"]] = sold.get(line["productId"], 0) + line["quantity"]
    after = platform.products()
    for product_id, product in before.items():
        assert product["stock"] - after[product_id]["stock"] == sold.get(product_id, 0)
    assert_money(platform, orders)


def assert_money(platform: PlatformProcess, orders: Iterable[dict[str, Any]]) -> None:
    """A confirmed order was paid once and in full; a cancelled one holds no money."""
    for order in orders:
        answer = platform.client.get(
            f"{platform.url(2)}/api/payments", params={"orderId": order["id"]}
        ).json()
        kept = [p for p in answer["items"] if p["status"] == "SUCCEEDED"]
        if order["status"] == "CONFIRMED":
            assert [Decimal(str(p["amount"])) for p in kept] == [Decimal(str(order["totalAmount"]))]
        else:
            assert kept == []

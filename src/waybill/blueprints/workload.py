"""The usual orders of a blueprint, as data: what load, bench and demo send, and where they look.

Products are numbered from 1 to 5 and customers from 0; each document names them in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

Lines = Sequence[tuple[int, int, float]]
"""Product, quantity and unit price of each line."""

ORDER_SERVICE, INVENTORY_SERVICE = 1, 3
"""Their ports above the base."""


def product_id(number: int) -> str:
    """The id of a seeded product of seed 003."""
    return "-".join(str(number) * length for length in (8, 4, 4, 4, 12))


def customer_id(number: int) -> str:
    """The id of a customer where customers are known by one."""
    return f"aaaaaaaa-aaaa-aaaa-aaaa-{number:012x}"


def sku(number: int) -> str:
    """The SKU of a product where products are known by one."""
    return f"SKU-{number}"


def email(number: int) -> str:
    """The address of a customer."""
    return f"customer-{number}@example.com"


@dataclass(frozen=True, kw_only=True)
class StockLevel:
    """Where a product's stock is set by PUT: a port above the base, a path, a member of the body.

    `is_named`: the body has the product's name as well. `reserved_member` is what GET calls the
    units that orders hold.
    """

    port: int = INVENTORY_SERVICE
    path: Callable[[int], str] = lambda number: f"/api/products/{product_id(number)}"
    member: str = "stock"
    reserved_member: str = "reserved"
    is_named: bool = True

    def holding(self, count: int, name: str) -> dict[str, object]:
        """The body of PUT for so many."""
        return {self.member: count, **({"name": name} if self.is_named else {})}


@dataclass(frozen=True)
class OutsideTarget:
    """Whom a platform calls outside, and the port above the base of the service that does."""

    name: str
    caller: int


PAYMENT_PROVIDER: Final = OutsideTarget("the payment provider", caller=2)
MAIL_SERVER: Final = OutsideTarget("the mail server", caller=4)
NOTIFIED_SERVICE: Final = OutsideTarget("the service that is notified", caller=ORDER_SERVICE)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """How an order is asked for (customer, lines), and which member of the answer is its id.

    That member comes first in the answer. `tells_endings`: whether the order service's outbox has
    OrderConfirmed and OrderCancelled, as seed 003 calls them; else whoever measures looks at rows.
    `target` is whose outage is measured.
    """

    body: Callable[[int, Lines], object]
    id_member: str = "orderId"
    stock: StockLevel = StockLevel()
    tells_endings: bool = False
    target: OutsideTarget = PAYMENT_PROVIDER


SKU_LEVEL: Final = StockLevel(
    path=lambda number: f"/api/inventory/{sku(number)}",
    member="availableQty",
    reserved_member="reservedQty",
    is_named=False,
)
NUMBERED_LEVEL: Final = StockLevel(port=ORDER_SERVICE, path=lambda number: f"/product/{number}")


def by_id(lines: Lines) -> list[dict[str, object]]:
    """Lines over seeded products."""
    return [
        {"productId": product_id(product), "quantity": quantity, "unitPrice": price}
        for product, quantity, price in lines
    ]


def of_customer(customer: int, lines: Lines) -> object:
    """As seed 003 asks."""
    return {"customerId": customer_id(customer), "items": by_id(lines), "currency": "EUR"}


def by_address(customer: int, lines: Lines) -> object:
    """As seed 001 asks."""
    items = [
        {"sku": sku(product), "quantity": quantity, "unitPrice": price}
        for product, quantity, price in lines
    ]
    return {"customerEmail": email(customer), "items": items}


def of_user(customer: int, lines: Lines) -> object:
    """As seed 004 asks."""
    items = [
        {"sku": sku(product), "qty": quantity, "price": price} for product, quantity, price in lines
    ]
    return {"userId": f"usr_{customer:03d}", "items": items, "currency": "EUR"}


def by_number(customer: int, lines: Lines) -> object:
    """As seed 000 asks: each unit is listed."""
    units = [product for product, quantity, _ in lines for _ in range(quantity)]
    return {"userId": customer + 1, "productIds": units}


def paid_at_once(customer: int, lines: Lines) -> object:
    """As seed 002 asks."""
    return {"items": by_id(lines), "currency": "EUR", "customer": {"email": email(customer)}}


SEED_000: Final = Workload(body=by_number, stock=NUMBERED_LEVEL, target=NOTIFIED_SERVICE)
SEED_001: Final = Workload(body=by_address, stock=SKU_LEVEL, target=MAIL_SERVER)
SEED_002: Final = Workload(body=paid_at_once)
SEED_003: Final = Workload(body=of_customer, id_member="id", tells_endings=True)
SEED_004: Final = Workload(body=of_user, stock=SKU_LEVEL)

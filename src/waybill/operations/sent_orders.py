"""The orders that the load generator places: made once, so that sending one costs no JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from waybill.blueprints import workload
from waybill.blueprints.catalogue import DEFAULT
from waybill.operations.history import hash_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.blueprints.definition import Blueprint

CUSTOMER: Final = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
CUSTOMERS: Final = 16
NUMBERS: Final = range(1, 6)
PRODUCTS: Final = tuple(workload.product_id(number) for number in NUMBERS)
"""The five seeded ones."""


@dataclass(frozen=True)
class Content:
    """A request's body, and what its history says of it."""

    body: bytes
    customer_id: str
    payload_hash: str


def content(lines: Sequence[tuple[str, int, float]], customer: str = CUSTOMER) -> Content:
    """An order in EUR over lines of (product id, quantity, unit price)."""
    items = [
        {"productId": product, "quantity": quantity, "unitPrice": price}
        for product, quantity, price in lines
    ]
    body = msgspec.json.encode({"customerId": customer, "items": items, "currency": "EUR"})
    return Content(body, customer, hash_of(body))


def two_lines(blueprint: Blueprint = DEFAULT) -> tuple[Content, ...]:
    """Two-line orders over five products, by sixteen customers, as this blueprint asks for them."""
    asked = (
        blueprint.workload.body(n % CUSTOMERS, [(n % 5 + 1, 1, 29.99), ((n + 2) % 5 + 1, 2, 5.25)])
        for n in range(5 * CUSTOMERS)
    )
    return tuple(_content(blueprint, msgspec.json.encode(each)) for each in asked)


def one_product(blueprint: Blueprint) -> tuple[Content, ...]:
    """Orders for one unit of the same product, by as many customers."""
    asked = (blueprint.workload.body(n, [(NUMBERS[0], 1, 29.99)]) for n in range(CUSTOMERS))
    return tuple(_content(blueprint, msgspec.json.encode(each)) for each in asked)


def _content(blueprint: Blueprint, body: bytes) -> Content:
    customer = blueprint.orders.contract.parse(body).customer_id
    return Content(body, str(customer), hash_of(body))

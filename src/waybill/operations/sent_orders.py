"""The orders that the load generator places: made once, so that sending one costs no JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from waybill.operations.history import hash_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CUSTOMER: Final = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
CUSTOMERS: Final = tuple(f"aaaaaaaa-aaaa-aaaa-aaaa-{number:012x}" for number in range(16))
PRODUCTS: Final = tuple(
    f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "12345"
)
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


def two_lines() -> tuple[Content, ...]:
    """Two-line orders over the five seeded products, by sixteen customers."""
    return tuple(
        content(
            [(PRODUCTS[n % 5], 1, 29.99), (PRODUCTS[(n + 2) % 5], 2, 5.25)],
            CUSTOMERS[n % len(CUSTOMERS)],
        )
        for n in range(5 * len(CUSTOMERS))
    )

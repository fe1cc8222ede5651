"""The baseline's orders, until the time is over."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Order = dict[str, str]
"""The parameters of the saga's statements."""


def order(number: int, products: Sequence[str]) -> Order:
    """Two lines over the products in turn, like those of Waybill's load generator."""
    lines = [
        {"productId": products[number % 5], "quantity": 1, "unitPrice": 29.99},
        {"productId": products[(number + 2) % 5], "quantity": 2, "unitPrice": 5.25},
    ]
    return {
        "order": str(uuid.uuid4()),
        "customer": "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
        "total": "40.49",
        "lines": json.dumps(lines),
        "charge": str(uuid.uuid4()),
        "message": "Your order is confirmed.",
    }


class Orders:
    """New orders for any number of threads or tasks, and the count of those confirmed."""

    def __init__(self, products: Sequence[str], warm_up_seconds: float, seconds: float) -> None:
        self.confirmed = 0
        self._products = products
        self._number = 0
        self._warm = time.monotonic() + warm_up_seconds
        self._until = self._warm + seconds

    def __iter__(self) -> Iterator[Order]:
        while time.monotonic() < self._until:
            self._number += 1
            yield order(self._number, self._products)

    def before_window(self) -> float:
        """Seconds until the window begins."""
        return max(0.0, self._warm - time.monotonic())

    def before_end(self) -> float:
        """Seconds until it ends."""
        return max(0.0, self._until - time.monotonic())

"""What customers of a blueprint send and hear: taken from what its order service documents."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from fastapi.routing import APIRoute

from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx2

    from waybill.blueprints.definition import Blueprint

UNITS = 3
"""In stock of a product that the documented example names."""
_PRODUCT, _QUANTITY, _ID = ("productId", "sku"), ("quantity", "qty"), ("id", "orderId")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")


class Customers:
    """Their requests, by the example of the documented one, and what the answers mean."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        surface = plans_of(blueprint)["order"].surface(blueprint)
        (self.place_path, operation), *_ = [
            (hot.path, hot.operation)
            for hot in surface.hot
            if hot.operation["operationId"] == "placeOrder"
        ]
        self._example = operation["requestBody"]["content"]["application/json"]["example"]
        cancels = [
            route.path
            for route in surface.routes
            if isinstance(route, APIRoute) and route.operation_id == "cancelOrder"
        ]
        self._cancel_path = cancels[0] if cancels else None

    def stock(self, usual: dict[UUID, int]) -> dict[UUID, int]:
        """The usual products where an order can name any, else those of the example."""
        if "items" in self._example:
            return usual
        content = self._blueprint.orders.contract.parse(msgspec.json.encode(self._example))
        return {line.product_id: UNITS for line in content.items}

    def body(self, wanted: Sequence[tuple[UUID, int]]) -> dict[str, Any]:
        """The example, with these products and quantities where it has lines."""
        body: dict[str, Any] = deepcopy(self._example)
        if "items" in body:
            line = body["items"][0]
            product, quantity = _named(line, _PRODUCT), _named(line, _QUANTITY)
            body["items"] = [{**line, product: str(each), quantity: n} for each, n in wanted]
        return body

    def another(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Another order; None where no line can tell them apart."""
        if "items" not in body:
            return None
        first, *rest = body["items"]
        quantity = _named(first, _QUANTITY)
        return {**body, "items": [{**first, quantity: first[quantity] + 1}, *rest]}

    def order_id(self, answer: httpx2.Response) -> str:
        """As customers know it."""
        shown = answer.json()
        return str(shown[_named(shown, _ID)])

    def cancel_path(self, order_id: str) -> str | None:
        """Where this order is cancelled; None: nowhere."""
        return self._cancel_path and self._cancel_path.replace("{id}", order_id)


def uuid_of(order_id: str) -> str:
    """The order's id inside, whatever stands before it outside."""
    found = _UUID.search(order_id)
    return str(UUID(found[0])) if found else order_id


def _named(members: dict[str, Any], names: tuple[str, ...]) -> str:
    return next(name for name in names if name in members)

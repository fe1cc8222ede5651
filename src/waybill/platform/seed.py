"""`waybill seed`: something to look at on a running platform."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import httpx2

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.background import addresses

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.platform.settings import Settings

STOCK: Final = 1_000
CUSTOMER: Final = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
PRICE: Final = 29.99


async def sow(settings: Settings, *, orders: int, say: Callable[[str], None]) -> None:
    """Raise the stock of every product and place orders of one or two lines."""
    where = addresses(settings)
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        try:
            products = await _fill(client, where["inventory-service"])
            for number in range(orders):
                lines = [products[number % len(products)], products[(number + 1) % len(products)]]
                await _place(client, where["order-service"], lines[: 1 + number % 2], number)
        except httpx2.TransportError as error:
            raise ConfigurationError(
                f"no platform answers on ports {settings.port_base + 1} and following: "
                "start one with `waybill up --detach`"
            ) from error
    say(f"{len(products)} products with {STOCK} pieces each, {orders} orders placed:")
    say(f"{where['order-service']}/api/orders")


async def _fill(client: httpx2.AsyncClient, inventory: str) -> list[str]:
    answer = await client.get(f"{inventory}/api/products")
    products = answer.raise_for_status().json()["items"]
    for product in products:
        wanted = {"name": product["name"], "stock": STOCK}
        (
            await client.put(f"{inventory}/api/products/{product['id']}", json=wanted)
        ).raise_for_status()
    return [product["id"] for product in products]


async def _place(client: httpx2.AsyncClient, orders: str, products: list[str], number: int) -> None:
    lines = [
        {"productId": product, "quantity": 1 + number % 3, "unitPrice": PRICE}
        for product in products
    ]
    answer = await client.post(
        f"{orders}/api/orders",
        json={"customerId": CUSTOMER, "items": lines, "currency": "EUR"},
        headers={"Idempotency-Key": secrets.token_hex(16)},
    )
    answer.raise_for_status()

"""Thousands of customers at the same moment, for fewer units than there are of them (R295)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest
from tests.acceptance.processes import wait_for
from tests.faults.site import END_SECONDS

from waybill.messaging.core.identity import new_id
from waybill.operations.http_client import Connection

if TYPE_CHECKING:
    from tests.faults.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

CUSTOMERS: Final = 2_000
UNITS: Final = 1_500
ANSWERED_SECONDS: Final = 120.0
AGAIN_SECONDS: Final = 0.5
"""Before a customer who was told to come back does so, with the same key."""


async def order(port: int, product: str) -> str:
    """One customer, on a connection of their own, who comes back when told to: the order's id."""
    connection = Connection("127.0.0.1", port)
    body = json.dumps(
        {
            "customerId": str(new_id()),
            "items": [{"productId": product, "quantity": 1, "unitPrice": 29.99}],
            "currency": "EUR",
        }
    ).encode()
    headers = f"Content-Type: application/json\r\nIdempotency-Key: {new_id()}\r\n"
    try:
        while True:
            answer = await connection.request("POST", "/api/orders", body, headers=headers)
            if answer.status == 201:
                return str(json.loads(answer.body)["id"])
            assert answer.status == 503, answer.body
            assert b"retry-after:" in answer.head
            await asyncio.sleep(AGAIN_SECONDS)
    finally:
        connection.close()


async def all_at_once(port: int, product: str) -> set[str]:
    """Every customer begins before any is answered."""
    async with asyncio.timeout(ANSWERED_SECONDS):
        return set(await asyncio.gather(*(order(port, product) for _ in range(CUSTOMERS))))


def test_two_thousand_orders_at_once_never_oversell(site: Site) -> None:
    """R295: as many orders end CONFIRMED as units leave the stock, all others CANCELLED."""
    made = site.order.client.post(
        f"{site.url('inventory')}/api/products", json={"name": "Rarity", "stock": UNITS}
    ).json()
    ids = asyncio.run(all_at_once(site.order.port_base + 1, made["id"]))
    assert len(ids) == CUSTOMERS
    wait_for(site.all_ended, END_SECONDS, "all orders terminal")
    rows = site.rows(
        "order", "SELECT status, reason FROM app.orders WHERE id::text = ANY ($1)", sorted(ids)
    )
    ends = Counter((row["status"], row["reason"]) for row in rows)
    left = site.order.products()[made["id"]]["stock"]
    declined = ends["CANCELLED", "payment_refused"]
    assert ends["CONFIRMED", None] == UNITS - left
    assert left <= declined  # what they gave back, perhaps when all others had been refused
    assert ends["CANCELLED", "stock_unavailable"] == CUSTOMERS - UNITS + left - declined
    site.assert_clean()

"""Every way an order can end, on a platform whose payments take a while; another runs beside it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import rows, value
from tests.acceptance.processes import KEYBOARD, wait_for

from waybill.commerce.payments.simulation import simulated_success
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import NewPlatform
    from tests.acceptance.processes import PlatformProcess

PAYMENT_SECONDS = "1.5"
ORDERS = 6
TYPES = "SELECT type FROM messaging.outbox WHERE aggregateid = $1 ORDER BY seq"


@pytest.fixture(scope="module")
def slow(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """A running platform whose payment provider takes its time and refuses one order in five."""
    with new_platform(WAYBILL_PAYMENT_DELAY_SECONDS=PAYMENT_SECONDS) as platform:
        platform.start().raise_stock()
        yield platform


def place(platform: PlatformProcess, count: int) -> list[str]:
    """Place orders; their ids."""
    answers = [platform.place(str(new_id()), product=KEYBOARD) for _ in range(count)]
    assert {answer.status_code for answer in answers} == {201}
    return [answer.json()["id"] for answer in answers]


def will_be_paid(order_id: str) -> bool:
    """What the simulator does with this order (contracts 1.4)."""
    return simulated_success(UUID(order_id), success_rate=0.8)


def events(platform: PlatformProcess, service: str, order_id: str) -> list[str]:
    """The types that a service published about an order."""
    return [row["type"] for row in rows(platform.data, service, TYPES, order_id)]


def is_reserved(platform: PlatformProcess, order_id: str) -> bool:
    """Whether its stock is held; its payment takes a while from then on."""
    return bool(platform.order(order_id)["status"] == "STOCK_RESERVED")


def test_two_platforms_run_side_by_side(
    slow: PlatformProcess, shared_platform: PlatformProcess
) -> None:
    """On ports and data of their own; neither knows the other's keys or orders."""
    key = str(new_id())
    ours, theirs = slow.place(key), shared_platform.place(key)
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["id"] != theirs.json()["id"]
    elsewhere = f"{shared_platform.url(1)}/api/orders/{ours.json()['id']}"
    assert shared_platform.client.get(elsewhere).status_code == 404
    for platform, answer in ((slow, ours), (shared_platform, theirs)):
        platform.ended(answer.json()["id"])


def test_a_refused_payment_gives_the_stock_back(slow: PlatformProcess) -> None:
    """R156, R159: PaymentFailed cancels the order, releases its stock and tells the customer."""
    before = slow.products()[KEYBOARD]["stock"]
    placed: list[str] = []
    while all(will_be_paid(order_id) for order_id in placed):
        placed += place(slow, 3)
    sold = 0
    for order_id in placed:
        paid = will_be_paid(order_id)
        assert slow.ended(order_id)["status"] == ("CONFIRMED" if paid else "CANCELLED")
        sold += paid
    assert_balanced(slow)
    assert slow.products()[KEYBOARD]["stock"] == before - sold
    refused = next(order_id for order_id in placed if not will_be_paid(order_id))
    assert events(slow, "payment", refused) == ["PaymentFailed"]
    assert sorted(events(slow, "order", refused)) == [
        *("OrderCancelled", "OrderCreated", "StockReleaseRequested")
    ]
    assert events(slow, "inventory", refused) == ["StockReserved", "StockReleased"]


def test_a_cancel_during_the_payment_wins_and_the_money_goes_back(slow: PlatformProcess) -> None:
    """P8: cancelled while the charge is under way: stock back, what was captured is refunded."""
    placed: list[str] = []
    for _ in range(ORDERS):
        placed += place(slow, 1)
        wait_for(partial(is_reserved, slow, placed[-1]), 30, "stock reserved")
        answer = slow.client.post(f"{slow.url(1)}/api/orders/{placed[-1]}/cancel")
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "CANCELLED"
    assert_balanced(slow)
    assert {slow.order(order_id)["status"] for order_id in placed} == {"CANCELLED"}
    refunds = "SELECT count(*) FROM app.refunds WHERE order_id = ANY($1::uuid[])"
    assert value(slow.data, "provider", refunds, [UUID(o) for o in placed]) > 0

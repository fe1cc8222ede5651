"""Seed 001 with its payment step: paid before stock is asked for, refunded where there is none.

Paid with a provider of the user's own, the class that docs/library/payment-provider.md shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance import voucher_shop
from tests.acceptance.database import rows
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.acceptance.test_reservation import OUTBOX, becomes, level, place, stock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import NewPlatform

pytestmark = pytest.mark.acceptance
ORDERS_MAX = 40
ENDED = {"CONFIRMED", "FAILED"}


@pytest.fixture(scope="module")
def platform(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """A platform whose provider, a class of the user's, captures for every other order."""
    with new_platform(
        WAYBILL_BLUEPRINT="reservation",
        WAYBILL_PAYMENT_STEP="true",
        PAYMENT_PROVIDER="tests.acceptance.voucher_shop:make",
    ) as platform:
        file = platform.data.parent / "vouchers"
        file.touch()
        file.chmod(0o666)
        platform.environment[voucher_shop.FILE] = str(file)
        yield platform.start()


def until(platform: PlatformProcess, sku: str, status: str) -> str:
    """Place orders until one ends so: whose payment is declined, its id decides."""
    for _ in range(ORDERS_MAX):
        order_id: str = place(platform, sku, 1).json()["orderId"]
        order = wait_for(
            lambda order_id=order_id: (  # type: ignore[misc] # bound here
                found if (found := platform.order(order_id))["status"] in ENDED else None
            ),
            30,
            f"order {order_id} ends",
        )
        if order["status"] == status:
            return order_id
    pytest.fail(f"no order of {ORDERS_MAX} ended {status}")


def types(platform: PlatformProcess, service: str, order_id: str) -> set[str]:
    """What a service told of an order."""
    return {row["type"] for row in rows(platform.data, service, OUTBOX, order_id)}


def test_orders_are_paid_then_reserved(platform: PlatformProcess) -> None:
    """Authorized: stock is asked for and held. Declined: FAILED, and inventory hears nothing."""
    stock(platform, "SKU-1", 1_000)
    confirmed = until(platform, "SKU-1", "CONFIRMED")
    assert "inventory.requested" in types(platform, "order", confirmed)
    failed = until(platform, "SKU-1", "FAILED")
    assert types(platform, "inventory", failed) == set()
    cancel = f"{platform.url(1)}/api/orders/{confirmed}/cancel"
    before = level(platform, "SKU-1")
    assert platform.client.post(cancel).json()["status"] == "CANCELED"
    back = (before[0] + 1, before[1] - 1)
    wait_for(lambda: level(platform, "SKU-1") == back or None, 20, "the stock is back")


def test_stock_that_is_not_there_gives_the_money_back(platform: PlatformProcess) -> None:
    """FAILED after the payment: refunded; then the audit of all, and the provider's own books."""
    stock(platform, "SKU-2", 0)

    def refunding() -> str | None:
        order_id: str = place(platform, "SKU-2", 1).json()["orderId"]
        becomes(platform, order_id, "FAILED")
        told = types(platform, "order", order_id)
        return order_id if "payment.refund-requested" in told else None

    wait_for(refunding, 60, "an order that was paid and found no stock")
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "audit: clean" in report.stdout
    assert "its payment provider keeps no ledger" in report.stdout
    booked = voucher_shop.books(Path(platform.environment[voucher_shop.FILE]))
    captured = [each.key for each in booked if (each.asked, each.answer) == ("charge", "Delivered")]
    back = {each.key for each in booked if (each.asked, each.answer) == ("refund", "Delivered")}
    assert len(captured) == len(set(captured)), "no order is charged twice"
    kept = "SELECT id FROM app.orders WHERE status = 'CONFIRMED'"
    assert set(captured) - back == {str(row["id"]) for row in rows(platform.data, "order", kept)}
    assert back

"""Facts that are lost on the way: found at the order's deadline, asked about, everything undone."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import rows, value
from tests.acceptance.processes import wait_for

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import NewPlatform
    from tests.acceptance.processes import PlatformProcess

DEADLINE_SECONDS = "4"
ASKED = "SELECT count(*) FROM messaging.outbox WHERE aggregateid = $1 AND type = 'OrderCreated'"
ORDER = "SELECT status, reason, asks FROM app.orders WHERE id = $1"
HELD = "SELECT count(*) FROM app.stock_ledger WHERE order_id = $1"
CHARGED = "SELECT count(*) FROM app.charges WHERE order_id = $1"
MOVES = "SELECT kind FROM app.stock_ledger WHERE order_id = $1 ORDER BY at"


def skip(platform: PlatformProcess, consumer: str, source: str) -> None:
    """Lose whatever this consumer has not read of that source."""
    answer = platform.run("consumers", "reset", consumer, source, "--to", "end")
    assert answer.returncode == 0, answer.stderr


@pytest.fixture(scope="module")
def lost(new_platform: NewPlatform) -> Iterator[tuple[PlatformProcess, dict[str, str]]]:
    """A platform, and two orders: one whose OrderCreated, one whose StockReserved got lost."""
    environment = {"WAYBILL_ORDER_DEADLINE_SECONDS": DEADLINE_SECONDS}
    with new_platform(PAYMENT_SIMULATE_FORCEOUTCOME="success", **environment) as platform:
        with closing(platform.beside("order").start()) as order:
            unseen = order.place(str(new_id())).json()["id"]
            skip(platform, "inventory-service", "order-service")
            with closing(platform.beside("inventory").start()):
                unpaid = order.place(str(new_id())).json()["id"]
                wait_for(
                    lambda: order.order(unpaid)["status"] == "STOCK_RESERVED", 30, "stock reserved"
                )
        skip(platform, "payment-service", "inventory-service")
        yield platform.start(), {"OrderCreated": unseen, "StockReserved": unpaid}


def ended(platform: PlatformProcess, order_id: str) -> dict[str, Any]:
    """The order's row once it has ended."""
    platform.ended(order_id)
    return rows(platform.data, "order", ORDER, UUID(order_id))[0]


def test_an_order_that_inventory_never_saw_is_asked_about(
    lost: tuple[PlatformProcess, dict[str, str]],
) -> None:
    """Protocol M3: asked again past its deadline, refused for it, CANCELLED, nothing held."""
    platform, orders = lost
    order_id = orders["OrderCreated"]
    row = ended(platform, order_id)
    assert (row["status"], row["reason"]) == ("CANCELLED", "deadline")
    assert row["asks"] >= 1
    assert value(platform.data, "order", ASKED, order_id) == 1 + row["asks"]
    assert value(platform.data, "inventory", HELD, UUID(order_id)) == 0
    assert value(platform.data, "provider", CHARGED, UUID(order_id)) == 0


def test_an_order_that_payment_never_saw_gets_its_stock_back(
    lost: tuple[PlatformProcess, dict[str, str]],
) -> None:
    """Protocol M2, M3: inventory repeats its answer, payment refuses it late, stock is released."""
    platform, orders = lost
    order_id = orders["StockReserved"]
    row = ended(platform, order_id)
    assert (row["status"], row["reason"]) == ("CANCELLED", "deadline")
    assert row["asks"] >= 1
    assert_balanced(platform)
    moves = [move["kind"] for move in rows(platform.data, "inventory", MOVES, UUID(order_id))]
    assert moves == ["reserve", "release"]
    assert value(platform.data, "provider", CHARGED, UUID(order_id)) == 0


def test_later_orders_go_their_way(lost: tuple[PlatformProcess, dict[str, str]]) -> None:
    """A lost fact costs its own order only."""
    platform, _ = lost
    order_id = platform.place(str(new_id())).json()["id"]
    assert platform.ended(order_id)["status"] == "CONFIRMED"

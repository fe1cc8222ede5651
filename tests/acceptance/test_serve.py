"""One process a service, as `waybill serve` runs them; the first of them runs PostgreSQL too."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.processes import OFFSETS, PlatformProcess, free_port_base, wait_for

from waybill.commerce.payments.simulation import simulated_success
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import NewPlatform

TAKEOVER_SECONDS = 10


@pytest.fixture(scope="module")
def served(new_platform: NewPlatform) -> Iterator[dict[str, PlatformProcess]]:
    """Four processes on one data directory; the order service's runs PostgreSQL."""
    with new_platform() as platform, ExitStack() as stack:
        processes = {
            service: stack.enter_context(closing(platform.beside(service))) for service in OFFSETS
        }
        processes["order"].start()
        for process in processes.values():
            if process.process is None:
                process.launch()
        for process in processes.values():
            process.wait_ready()
        processes["inventory"].raise_stock()
        yield processes


def place(platform: PlatformProcess, count: int) -> list[str]:
    """Place orders; their ids."""
    answers = [platform.place(str(new_id())) for _ in range(count)]
    assert {answer.status_code for answer in answers} == {201}
    return [answer.json()["id"] for answer in answers]


def test_orders_end_over_four_processes(served: dict[str, PlatformProcess]) -> None:
    """Protocol D7, D8: each reads the others' outboxes; the simulator decides as documented."""
    order = served["order"]
    placed = place(order, 20)
    for order_id in placed:
        paid = simulated_success(UUID(order_id), success_rate=0.8)
        assert order.ended(order_id)["status"] == ("CONFIRMED" if paid else "CANCELLED")
    assert_balanced(order)


def test_a_service_that_is_away_stops_no_other(served: dict[str, PlatformProcess]) -> None:
    """R016: without inventory orders are accepted and cancelled; with it again they end."""
    order, inventory = served["order"], served["inventory"]
    assert inventory.stop() == 0
    placed = place(order, 5)
    url = f"{order.url(1)}/api/orders/{placed[0]}/cancel"
    assert order.client.post(url).json()["status"] == "CANCELLED"
    assert {order.order(order_id)["status"] for order_id in placed[1:]} == {"PENDING"}
    inventory.start()
    for order_id in placed[1:]:
        order.ended(order_id)
    assert_balanced(order)
    assert order.order(placed[0])["status"] == "CANCELLED"


def test_a_second_process_stands_by_and_takes_over(served: dict[str, PlatformProcess]) -> None:
    """Protocol D1: two of one service; after kill -9 of the first the second has its lanes."""
    order, first = served["order"], served["inventory"]
    with closing(first.beside("inventory", port_base=free_port_base())) as second:
        second.start()
        for order_id in place(order, 3):
            order.ended(order_id)
        killed = time.monotonic()
        first.kill_process()
        for order_id in place(order, 3):
            order.ended(order_id, TAKEOVER_SECONDS + 5)
        assert time.monotonic() - killed < TAKEOVER_SECONDS + 5
        assert_balanced(order)
        first.start()
        assert second.stop() == 0
    for order_id in place(order, 3):
        order.ended(order_id)


def test_another_process_takes_the_database_over(served: dict[str, PlatformProcess]) -> None:
    """Protocol E2: kill -9 of the process that runs PostgreSQL is an outage that heals."""
    order = served["order"]
    placed = place(order, 3)
    order.kill_process()
    payment = served["payment"]
    ready = f"{payment.url(2)}/readyz"
    wait_for(lambda: payment.client.get(ready).status_code == 200, 30, "payment is ready again")
    order.start()
    for order_id in [*placed, *place(order, 3)]:
        order.ended(order_id)
    assert_balanced(order)

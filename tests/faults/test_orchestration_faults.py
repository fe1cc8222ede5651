"""The blueprint `orchestration`, a process a service: each is killed in turn, all orders end."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acceptance.database import value
from tests.acceptance.processes import OFFSETS, PlatformProcess, free_port_base, wait_for
from tests.acceptance.test_orchestration import (
    ORCHESTRATOR,
    environment,
    get,
    place,
    stock,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long
ENDED = {"CONFIRMED", "FAILED"}
PAYMENTS = "SELECT count(*) FROM app.payments WHERE status <> 'PENDING'"


@pytest.fixture(scope="module")
def served(session_directory: Path) -> Iterator[dict[str, PlatformProcess]]:
    """Five processes on one data directory; the order service's runs PostgreSQL."""
    directory = Path(tempfile.mkdtemp(prefix="orchestrated-", dir=session_directory))
    directory.chmod(0o711)
    base = PlatformProcess(
        directory / "data", port_base=free_port_base(), environment=environment()
    )
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(closing(base.beside(name)))
            for name in (*OFFSETS, "orchestrator")
        }
        for name, process in processes.items():
            start(name, process)
        stock(base, "SKU-1", 10_000)
        yield processes
    base.client.close()
    shutil.rmtree(directory, ignore_errors=True)


def start(name: str, process: PlatformProcess) -> None:
    """And wait until it is ready."""
    process.start()
    offset = OFFSETS.get(name, ORCHESTRATOR)

    def ready() -> bool:
        try:
            return process.client.get(f"{process.url(offset)}/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    wait_for(lambda: ready() or None, 60, f"{name} is ready")


def ordered(order: PlatformProcess, count: int) -> list[str]:
    """So many orders."""
    return [place(order, "SKU-1", 1).json()["orderId"] for _ in range(count)]


def all_end(order: PlatformProcess, orders: list[str]) -> None:
    """Every one of them."""
    wait_for(
        lambda: {get(order, each)["status"] for each in orders} <= ENDED or None,
        60,
        "every order has ended",
    )


def test_orders_wait_for_the_orchestrator(served: dict[str, PlatformProcess]) -> None:
    """R313: paid and reserved, they stay as they are until it is back; then they finish (M8)."""
    order, orchestrator = served["order"], served["orchestrator"]
    orchestrator.kill_process()
    before = value(order.data, "payment", PAYMENTS)
    orders = ordered(order, 10)
    wait_for(
        lambda: value(order.data, "payment", PAYMENTS) == before + 10 or None,
        30,
        "all are answered",
    )
    assert {get(order, each)["status"] for each in orders} == {"PENDING"}
    start("orchestrator", orchestrator)
    all_end(order, orders)


@pytest.mark.parametrize("name", ["payment", "inventory", "notification", "order"])
def test_a_service_that_is_killed_stops_no_other(
    served: dict[str, PlatformProcess], name: str
) -> None:
    """R183, R197: orders are taken meanwhile (but by the dead), and all of them end."""
    order, killed = served["order"], served[name]
    orders = ordered(order, 10)
    killed.kill_process()
    if name != "order":
        orders += ordered(order, 10)
    start(name, killed)
    all_end(order, orders)


def test_the_audit_is_clean(served: dict[str, PlatformProcess]) -> None:
    """After all of it."""
    report = served["order"].run("audit", "--settle", "90")
    assert report.returncode == 0, report.stdout + report.stderr

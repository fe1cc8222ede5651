"""One of our services replaced by a program that knows the documented contract only."""

from __future__ import annotations

import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.books import audited
from tests.acceptance.processes import KEYBOARD
from tests.kafka.broker import Broker, running_broker
from tests.kafka.payment_stand_in import DECLINED_PIECES

from waybill.operations.audit import AuditOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import NewPlatform
    from tests.acceptance.processes import PlatformProcess

pytestmark = pytest.mark.acceptance

STAND_IN = Path(__file__).with_name("payment_stand_in.py")
OURS = ("order", "inventory", "notification")
ORDERS = 12
SETTLE_SECONDS = 90.0


@pytest.fixture
def broker(session_directory: Path) -> Iterator[Broker]:
    """One of its own: the platform's topics have the same names for everybody."""
    with running_broker(session_directory / "replaced") as running:
        yield running


@pytest.fixture
def stand_in(broker: Broker, ours: PlatformProcess) -> Iterator[None]:
    """The other payment service, as a process without our library in its way."""
    del ours  # which makes the topics
    process = subprocess.Popen([sys.executable, "-I", str(STAND_IN), broker.bootstrap])
    yield
    process.terminate()
    assert process.wait(timeout=30) == 0


@pytest.fixture
def ours(broker: Broker, new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """Order, inventory and notification, a process each; no payment service of ours."""
    with ExitStack() as running, new_platform(KAFKA_BROKERS=broker.bootstrap) as platform:
        processes = [platform.beside(service).launch() for service in OURS]
        for process in processes:
            running.callback(process.close)
        for process in processes:
            process.wait_ready(seconds=120)
        platform.raise_stock()
        yield platform


def test_a_stranger_takes_the_payment_service_s_place(
    ours: PlatformProcess, stand_in: None
) -> None:
    """Paid, declined, refused and cancelled orders all end as they must; the rest's books balance.

    The stranger's records have no headers, and epoch seconds for a time.
    """
    del stand_in
    placed = [ours.place(secrets.token_hex(8)).json()["id"] for _ in range(ORDERS)]
    declined = ours.place(secrets.token_hex(8), quantity=DECLINED_PIECES).json()["id"]
    cancelled = ours.place(secrets.token_hex(8), product=KEYBOARD).json()["id"]
    ours.client.post(f"{ours.url(1)}/api/orders/{cancelled}/cancel")
    assert {ours.ended(order_id)["status"] for order_id in placed} == {"CONFIRMED"}
    assert ours.ended(declined)["status"] == "CANCELLED"
    assert ours.ended(cancelled)["status"] in {"CONFIRMED", "CANCELLED"}
    options = AuditOptions(settle_seconds=SETTLE_SECONDS, elsewhere=frozenset({"payment"}))
    report = audited(ours.data, options)
    rows = [(rule.id, each.row, each.look_at) for rule in report.violated for each in rule.rows]
    assert report.exit_status == 0, f"{report.told()}\n{rows}"
    assert not report.waiting

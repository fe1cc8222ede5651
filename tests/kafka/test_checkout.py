"""The blueprint `checkout` on Kafka: the documented topics, the same orders, the same audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.acceptance.signing_in import GENEROUS, sign_in_both
from tests.acceptance.test_checkout import becomes, order, place, told
from tests.kafka.broker import running_broker

from waybill.blueprints.checkout import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.conftest import NewPlatform

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def bootstrap(session_directory: Path) -> Iterator[str]:
    """A broker of this test alone."""
    with running_broker(session_directory / "checkout-broker") as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def platform(new_platform: NewPlatform, bootstrap: str) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint whose services meet on Kafka, with the simulator."""
    with new_platform(
        WAYBILL_BLUEPRINT="checkout",
        WAYBILL_PAYMENT_SUCCESS_RATE="1",
        KAFKA_BROKERS=bootstrap,
        **GENEROUS,
    ) as platform:
        platform.has_edge = True
        platform.start()
        sign_in_both(platform)
        yield platform


def test_orders_end_over_the_documented_topics(platform: PlatformProcess, bootstrap: str) -> None:
    """Paid and sold, paid and refunded; the audit compares with the provider's own ledger."""
    sold = place(platform, "sold", quantity=2)
    assert (sold.status_code, sold.json()["status"]) == (201, "CONFIRMED")
    refunded = place(platform, "refunded", quantity=10_000).json()["orderId"]
    becomes(platform, refunded, "CANCELLED")
    both = {"OrderCreated", "OrderCancelled"}
    wait_for(lambda: told(platform, refunded) == both or None, 30, "both notifications")
    assert order(platform, sold.json()["orderId"])["status"] == "CONFIRMED"
    client = AdminClient({"bootstrap.servers": bootstrap})
    topics = set(client.list_topics(timeout=20).topics)
    assert {*TOPICS, "order.created.DLT", "inventory.updated.DLT"} <= topics
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "I16   Q     clean" in report.stdout
    assert "I36   Q     clean" in report.stdout

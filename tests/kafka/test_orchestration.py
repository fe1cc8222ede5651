"""The blueprint `orchestration` on Kafka: two services write one topic; the audit is clean."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from confluent_kafka.admin import AdminClient
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.acceptance.test_orchestration import (
    becomes,
    environment,
    level,
    payment_of,
    place,
    placed,
    stock,
)
from tests.kafka.broker import running_broker
from tests.kafka.reading import read

from waybill.blueprints.orchestration import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.conftest import NewPlatform

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def bootstrap(session_directory: Path) -> Iterator[str]:
    """A broker of this test alone."""
    with running_broker(session_directory / "orchestration-broker") as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def platform(new_platform: NewPlatform, bootstrap: str) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint whose services meet on Kafka."""
    with new_platform(**environment(KAFKA_BROKERS=bootstrap)) as platform:
        yield platform.start()


def test_orders_end_over_the_documented_topics(platform: PlatformProcess, bootstrap: str) -> None:
    """Confirmed, refused, refunded and cancelled; each record as the document has it."""
    stock(platform, "SKU-1", 3)
    confirmed = placed(platform, "SKU-1", 2, is_paid=True)
    becomes(platform, confirmed, "CONFIRMED")
    refunded = placed(platform, "SKU-1", 2, is_paid=True)
    becomes(platform, refunded, "FAILED")
    wait_for(lambda: payment_of(platform, refunded) == "REFUNDED" or None, 30, "the refund")
    refused = placed(platform, "SKU-1", 1, is_paid=False)
    becomes(platform, refused, "FAILED")
    stock(platform, "SKU-2", 1)
    wished = place(platform, "SKU-2", 1).json()["orderId"]
    cancel = f"{platform.url(1)}/api/v1/orders/{wished}/cancel"
    assert platform.client.post(cancel).status_code == 202
    becomes(platform, wished, "FAILED")
    wait_for(lambda: level(platform, "SKU-2") == (1, 0) or None, 30, "the stock is back")

    client = AdminClient({"bootstrap.servers": bootstrap})
    topics = set(client.list_topics(timeout=20).topics)
    assert {*TOPICS, "order.events.dlq", "payment.events.dlq", "inventory.events.dlq"} <= topics
    found = asyncio.run(read(bootstrap, "order.events", 16))
    producers = {each.headers["eventType"]: each.headers["producer"] for each in found}
    assert producers[b"OrderCreated"] == b"order-service"
    assert producers[b"OrderCompleted"] == producers[b"OrderProcessing"] == b"orchestrator"
    for each in found:
        value = json.loads(each.value)
        assert set(value) == {"eventId", "traceId", "type", "occurredAt", "data"}
        assert value["data"]["orderId"] == f"ord_{each.key}"
        headers = each.headers
        assert UUID(headers["eventId"].decode()) == UUID(value["eventId"])
        assert headers["eventType"].decode() == value["type"]
        assert headers["occurredAt"].decode() == value["occurredAt"]
        assert headers["traceId"].decode() == value["traceId"]
        assert {"spanId", "correlationId", "producer"} <= set(headers)
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "I16   Q     clean" in report.stdout

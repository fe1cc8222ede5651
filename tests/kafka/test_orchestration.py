"""The blueprint `orchestration` on Kafka: two services write one topic; the audit is clean."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from confluent_kafka.admin import AdminClient
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.acceptance.test_orchestration import (
    bare,
    becomes,
    environment,
    get,
    level,
    payment_of,
    place,
    placed,
    stock,
)
from tests.kafka.broker import running_broker
from tests.kafka.poisoning import audit_follows_the_verdicts, poison_is_a_dead_letter
from tests.kafka.reading import read
from tests.kafka.records import headers_of, records_until

from waybill.blueprints.orchestration import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confluent_kafka import Message
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


def one_trace_goes_through_the_orchestrator(platform: PlatformProcess, bootstrap: str) -> None:
    """R234: a caller's trace and X-Correlation-Id are in every record about the order."""
    stock(platform, "SKU-3", 100)
    trace = secrets.token_hex(16)
    headers = {
        "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
        "X-Correlation-Id": "shop-4711",
    }
    order_id = place(platform, "SKU-3", 1, **headers).json()["orderId"]
    key = str(bare(order_id))

    def ended() -> bool:
        return get(platform, order_id)["status"] in {"CONFIRMED", "FAILED"}

    wait_for(ended, 30, f"{order_id} has ended")

    def told(found: list[Message]) -> list[dict[str, bytes]]:
        return [headers_of(each) for each in found if each.key() == key.encode()]

    def enough(found: list[Message]) -> bool:
        types = {each["eventType"] for each in told(found)}
        paid_or_not = {b"PaymentSucceeded", b"PaymentFailed"}
        return {b"OrderCreated", b"OrderCompleted"} <= types and bool(types & paid_or_not)

    about = told(records_until(bootstrap, ["order.events", "payment.events"], enough))
    assert {each["producer"] for each in about} == {
        *(b"order-service", b"payment-service", b"orchestrator")
    }
    assert {each["traceId"].decode() for each in about} == {trace}
    assert {each["correlationId"] for each in about} == {b"shop-4711"}


def test_orders_end_over_the_documented_topics(platform: PlatformProcess, bootstrap: str) -> None:
    """Confirmed, refused, refunded and cancelled; each record as the document has it.

    What no reader can apply is in the `.dlq` with its headers and the reason (R180, R181); an audit
    knows it by its dead letter, and finds what has none.
    """
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
    one_trace_goes_through_the_orchestrator(platform, bootstrap)
    poison_is_a_dead_letter(bootstrap, "inventory.events", "InventoryReserved", ["orchestrator"])
    audit_follows_the_verdicts(platform, bootstrap, "inventory.events")

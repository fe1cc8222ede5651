"""The blueprint `reservation` on Kafka: a topic for each type, the same orders, the same audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.acceptance.test_reservation import becomes, level, place, stock
from tests.kafka.broker import running_broker
from tests.kafka.poisoning import audit_follows_the_verdicts, poison_is_a_dead_letter
from tests.kafka.records import headers_of, records_until

from waybill.blueprints.reservation import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confluent_kafka import Message
    from tests.acceptance.conftest import NewPlatform

pytestmark = pytest.mark.acceptance
USUAL = 6
OF_A_CANCEL = {"order.canceled", "inventory.release-requested", "inventory.released"}


@pytest.fixture(
    scope="module",
    params=[USUAL, *(pytest.param(each, marks=pytest.mark.long) for each in (1, 3))],
    ids=lambda count: f"{count}-partitions",
)
def partitions(request: pytest.FixtureRequest) -> int:
    """Of every topic: what it is unless told otherwise, and what seed 001 begins with."""
    count: int = request.param
    return count


@pytest.fixture(scope="module")
def bootstrap(session_directory: Path, partitions: int) -> Iterator[str]:
    """A broker of this test alone."""
    with running_broker(session_directory / f"reservation-broker-{partitions}") as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def platform(
    new_platform: NewPlatform, bootstrap: str, partitions: int
) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint whose services meet on Kafka."""
    told = {} if partitions == USUAL else {"KAFKA_PARTITIONS": str(partitions)}
    with new_platform(WAYBILL_BLUEPRINT="reservation", KAFKA_BROKERS=bootstrap, **told) as platform:
        platform.without = frozenset({"payment"})
        yield platform.start()


def topics_in(found: list[Message]) -> set[str | None]:
    """Those of which there is a record."""
    return {record.topic() for record in found}


def test_orders_end_over_topics_of_their_own(
    platform: PlatformProcess, bootstrap: str, partitions: int
) -> None:
    """Confirmed, failed and cancelled; every type has its topic, those read a `.dlq` beside it.

    Each has as many partitions as was said (R069), and records keyed by the order (R064 to R068). A
    request's X-Correlation-Id, else the order's id, is in the headers of all that it led to (R074,
    R220). What no reader can apply is in the `.dlq` with its headers and the reason (R070, R171);
    an audit knows it by its dead letter, and finds what has none.
    """
    stock(platform, "SKU-1", 3)
    correlated = {"X-Correlation-Id": "shop-4711"}
    confirmed = place(platform, "SKU-1", 2, **correlated).json()["orderId"]
    becomes(platform, confirmed, "CONFIRMED")
    failed = place(platform, "SKU-1", 2).json()["orderId"]
    becomes(platform, failed, "FAILED")
    cancel = f"{platform.url(1)}/api/orders/{confirmed}/cancel"
    canceled = platform.client.post(cancel, headers={"X-Correlation-Id": "shop-4712"})
    assert canceled.json()["status"] == "CANCELED"
    wait_for(lambda: level(platform, "SKU-1") == (3, 0) or None, 30, "the stock is back")
    client = AdminClient({"bootstrap.servers": bootstrap})
    topics = client.list_topics(timeout=20).topics
    ours = {*TOPICS, "order.created.dlq", "inventory.reserved.dlq"}
    assert ours <= set(topics)
    assert {len(topics[name].partitions) for name in ours} == {partitions}
    assert not [topic for topic in topics if topic.endswith(".DLT")]
    records = records_until(bootstrap, [*TOPICS], lambda found: {*TOPICS} <= topics_in(found))
    for record in records:
        key, written = record.key(), record.value()
        assert key is not None
        assert written is not None
        told, headers = json.loads(written), headers_of(record)
        assert (told["orderId"], told["eventType"]) == (key.decode(), record.topic())
        assert headers["eventType"].decode() == record.topic()
        led_to = "shop-4712" if record.topic() in OF_A_CANCEL else "shop-4711"
        expected = led_to if key.decode() == confirmed else key.decode()
        assert headers["correlationId"].decode() == expected, record.topic()
    poison_is_a_dead_letter(bootstrap, "order.created", "order.created", ["inventory-service"])
    audit_follows_the_verdicts(platform, bootstrap, "order.created")

"""The blueprint `notify` on Kafka, with its own receiver: the topic, the same orders and audit."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer
from tests.acceptance.engines import on_engine, provisioned, rows, value
from tests.acceptance.test_notify import becomes, level, notify_platform, place
from tests.kafka.broker import running_broker
from tests.kafka.poisoning import poison_is_a_dead_letter
from tests.mariadb import ENGINES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.processes import PlatformProcess

pytestmark = pytest.mark.acceptance
TOPIC = "order-notifications"


@pytest.fixture(scope="module", params=ENGINES)
def platform(request: pytest.FixtureRequest, session_directory: Path) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint whose order service reads its topic on a Kafka."""
    directory = Path(tempfile.mkdtemp(prefix="notify-kafka-", dir=session_directory))
    directory.chmod(0o711)
    with (
        running_broker(directory / "broker") as broker,
        on_engine(request, request.param) as databases,
    ):
        platform = notify_platform(directory, KAFKA_BROKERS=broker.bootstrap, **databases)
        try:
            yield provisioned(platform).start()
        finally:
            platform.close()
    shutil.rmtree(directory, ignore_errors=True)


def test_an_order_goes_over_its_topic_to_the_receiver(platform: PlatformProcess) -> None:
    """NOTIFIED by this platform's own POST /notify; the record is the document's JSON."""
    ids = [place(platform, *products).json()["orderId"] for products in ((1, 3), (3,), (1, 2, 3))]
    for order_id in ids:
        becomes(platform, order_id, "NOTIFIED")
    assert [level(platform, number) for number in (1, 2, 3)] == [8, 4, 12]
    settings = {
        "bootstrap.servers": platform.environment["KAFKA_BROKERS"],
        "group.id": "anybody",
        "auto.offset.reset": "earliest",
    }
    consumer = Consumer(settings)
    consumer.subscribe([TOPIC])
    records = consumer.consume(3, timeout=30)
    consumer.close()
    told = {}
    for record in records:
        key, written = record.key(), record.value()
        assert key is not None
        assert written is not None
        told[key.decode()] = json.loads(written)
    assert set(told) == set(ids)
    assert told[ids[2]] == {"orderId": ids[2], "userId": 1, "productIds": [1, 2, 3]}
    events = "SELECT id FROM messaging.outbox WHERE topic = $1"
    sent = {str(row["id"]) for row in rows(platform, "order", events, TOPIC)}
    taken = "SELECT message_id FROM messaging.inbox WHERE consumer = 'notify-receiver'"
    assert {str(row["message_id"]) for row in rows(platform, "notification", taken)} == sent
    assert value(platform, "order", "SELECT count(*) FROM app.orders") == 3
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "I16   Q     clean" in report.stdout


def test_what_is_no_such_event_is_in_the_dead_letter_topic(platform: PlatformProcess) -> None:
    """R167: whole, with the reason; it is in nobody's way."""
    brokers = platform.environment["KAFKA_BROKERS"]
    poison_is_a_dead_letter(brokers, TOPIC, "ORDER_CREATED", ["order-service"], suffix=".DLT")
    becomes(platform, place(platform, 1).json()["orderId"], "NOTIFIED")

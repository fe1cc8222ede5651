"""Clients that have nothing of ours read what we write: kcat, Java's client, confluent-kafka."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from scripts.kafka import machine
from scripts.kafka.server import java
from tests.commerce.support import MOUSE, NOW, created
from tests.kafka.reading import name_of, settings_for
from tests.kafka.records import headers_of, records_until

from waybill.blueprints import choreography
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import Message, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kafka.broker import OtherBroker

ORDERS = 12
PLAIN_CONSUMER = Path(__file__).with_name("PlainConsumer.java")
SEPARATOR = "\x1f"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def messages(topic: str) -> list[Message]:
    """An OrderCreated of each of many orders, as the order service would write it."""
    codec = choreography.codec()
    made = []
    for _ in range(ORDERS):
        event = created((MOUSE, 2))
        message = Message(
            id=new_id(),
            topic=topic,
            type="OrderCreated",
            key=str(event.order_id),
            value=b"",
            occurred_at=NOW,
            aggregate_type="Order",
            aggregate_version=1,
            correlation_id=str(event.order_id),
            causation_id=new_id(),
            traceparent=TRACEPARENT,
            producer="order-service",
        )
        made.append(msgspec.structs.replace(message, value=codec.encode(event, message)))
    return made


def documented(message: Message) -> dict[str, str]:
    """Every header that docs/events.md and docs/library/kafka.md name, and nothing else."""
    order_id, event_id = message.key, str(message.id)
    return {
        "eventId": event_id,
        "eventType": "OrderCreated",
        "eventVersion": "1",
        "correlationId": order_id,
        "causationId": str(message.causation_id),
        "traceparent": TRACEPARENT,
        "producer": "order-service",
        "aggregateType": "Order",
        "aggregateVersion": "1",
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_type": "OrderCreated",
        "ce_source": "/order-service",
        "ce_subject": order_id,
        "ce_time": NOW.isoformat().replace("+00:00", "Z"),
        "content-type": "application/json",
    }


def parsed(headers: str) -> dict[str, str]:
    """Names and values as kcat and our Java program write them; none comes twice."""
    pairs = [pair.strip().partition("=") for pair in headers.strip("{}").split(",")]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


class Written:
    """A topic that our writer has filled."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.topic = name_of("strangers")
        self.messages = {message.key: message for message in messages(self.topic)}

    async def fill(self) -> None:
        """Make the topic as our services do, and write."""
        settings = settings_for(self.bootstrap)
        await Topics(settings).prepare([self.topic])
        writer = KafkaLogWriter(settings)
        records = [
            Record("order", 1, seq, message)
            for seq, message in enumerate(self.messages.values(), 1)
        ]
        written = await writer.write(records)
        await writer.close()
        assert (written.acknowledged, written.error) == (ORDERS, None)


@pytest.fixture(scope="module")
def written(kafka: OtherBroker) -> Written:
    """One for all strangers."""
    made = Written(kafka.bootstrap)
    asyncio.run(made.fill())
    return made


def lines_of(command: Sequence[str]) -> list[str]:
    """What a program writes."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_kcat_reads_key_headers_and_value(written: Written) -> None:
    """`kcat -C` with a format, as on a command line."""
    shown = lines_of(
        [
            *(machine.program("kcat"), "-C", "-q", "-b", written.bootstrap, "-t", written.topic),
            *("-o", "beginning", "-c", str(ORDERS), "-e", "-f"),
            SEPARATOR.join(("%t", "%k", "%h", "%s")) + "\n",
        ]
    )
    assert len(shown) == ORDERS
    for line in shown:
        topic, key, headers, value = line.split(SEPARATOR)
        message = written.messages[key]
        assert (topic, value.encode()) == (written.topic, message.value)
        assert parsed(headers) == documented(message)
        assert json.loads(value)["payload"]["orderId"] == key


def test_javas_client_reads_everything_and_agrees_on_the_partition(written: Written) -> None:
    """Key, headers and value; and its murmur2 finds each key where our writer put it."""
    shown = lines_of(
        [*java("-Xmx64m"), str(PLAIN_CONSUMER), written.bootstrap, written.topic, str(ORDERS)]
    )
    partitions = set()
    for line in shown:
        partition, javas, key, value, headers = line.split("\t")
        message = written.messages[key]
        assert partition == javas
        assert base64.b64decode(value) == message.value
        assert parsed(headers) == documented(message)
        partitions.add(partition)
    assert len(shown) == ORDERS
    assert len(partitions) > 1


def test_a_plain_python_consumer_finds_the_contract_headers(written: Written) -> None:
    """Texts in UTF-8, and CloudEvents' required attributes among them."""
    records = records_until(written.bootstrap, [written.topic], lambda found: len(found) >= ORDERS)
    for record in records:
        headers = headers_of(record)
        message = written.messages[(record.key() or b"").decode()]
        assert {name: value.decode() for name, value in headers.items()} == documented(message)

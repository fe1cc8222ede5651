"""The broker that the other tests stand on does what they think it does: make test-faults.

That users' records outlive its death, and who is let in, is shown by default, too: by
tests/faults/test_broker_faults.py and test_security.py.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic
from scripts.kafka.server import answers
from tests.kafka.broker import PASSWORD, USER, Broker, certificate_of, running_broker
from tests.kafka.reading import settings_for

from waybill.messaging.adapters.kafka.admin import Admin
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.long
TOPIC = "kept"


@pytest.fixture(scope="module")
def broker(session_directory: Path) -> Iterator[Broker]:
    """One of this file's own: it is hurt."""
    directory = session_directory / "hurt-broker"
    with running_broker(directory, listeners=("SASL_PLAINTEXT", "SSL")) as running:
        client = AdminClient({"bootstrap.servers": running.bootstrap})
        client.create_topics([NewTopic(TOPIC, num_partitions=1)])[TOPIC].result(30)
        yield running


def produced(
    address: str, value: bytes, more: Mapping[str, str | int | float | bool] | None = None
) -> None:
    """Write one record and wait for its acknowledgement."""
    failures: list[object] = []
    producer = Producer(
        {"bootstrap.servers": address, "message.timeout.ms": 30_000, **(more or {})}
    )
    producer.produce(TOPIC, value, on_delivery=lambda error, _: failures.append(error))
    producer.flush(40)
    assert failures == [None]


def values(address: str) -> list[bytes]:
    """All that the topic holds."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": str(uuid.uuid1()),
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe([TOPIC])
    found = []
    while (record := consumer.poll(30)) is not None and record.error() is None:
        found.append(record.value() or b"")
    consumer.close()
    return found


async def test_what_was_acknowledged_survives_sigkill_on_the_same_ports(broker: Broker) -> None:
    """Started again, it has the same address and the same records.

    A client that was kept is told the newest offsets. It knew the leader of before, and asked all
    the time: refused for ever without a new one.
    """
    await asyncio.to_thread(produced, broker.bootstrap, b"before")
    admin = Admin(settings_for(broker.bootstrap), 3.0)
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # its gap

    async def end() -> int | None:
        try:
            return (await admin.offsets([TopicPartition(TOPIC, 0)], latest))[TOPIC, 0]
        except TransientError:
            await asyncio.sleep(0.01)
            return None

    before = await end()
    assert before is not None
    await asyncio.to_thread(broker.kill)
    assert not await asyncio.to_thread(answers, broker.bootstrap, 0.2)
    up = asyncio.create_task(asyncio.to_thread(broker.start))
    meanwhile = []
    while not up.done():
        meanwhile.append(await end())
    await up
    assert None in meanwhile
    await asyncio.to_thread(produced, broker.bootstrap, b"more")
    async with asyncio.timeout(20):
        while (after := await end()) is None:
            pass
    assert after == before + 1
    assert await asyncio.to_thread(values, broker.bootstrap) == [b"before", b"more"]


def test_a_paused_broker_answers_nobody_and_then_goes_on(broker: Broker) -> None:
    """SIGSTOP and SIGCONT."""
    broker.pause()
    assert not answers(broker.bootstrap, 0.5)
    broker.resume()
    assert answers(broker.bootstrap, 30)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_the_sasl_listener_wants_the_password(broker: Broker, mechanism: str) -> None:
    """Without it nothing is told, with it a record goes in."""
    address = broker.listeners.address("SASL_PLAINTEXT")
    security: dict[str, str | int | float | bool] = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": PASSWORD,
    }
    wrong = {"bootstrap.servers": address, "log_level": 0, **security, "sasl.password": "wrong"}
    with pytest.raises(KafkaException):
        AdminClient(wrong).list_topics(timeout=1)
    produced(address, b"sasl", security)


def test_the_tls_listener_has_the_certificate_of_its_directory(broker: Broker) -> None:
    """Which a client verifies, host name included."""
    security: dict[str, str | int | float | bool] = {
        "security.protocol": "SSL",
        "ssl.ca.location": str(certificate_of(broker.directory)),
        "ssl.endpoint.identification.algorithm": "https",
    }
    produced(broker.listeners.address("SSL"), b"tls", security)

"""SASL and TLS as KAFKA_* say, against a real broker: writing, reading, topics; nothing leaks."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest
from tests.kafka.broker import PASSWORD, USER, certificate_of, running_broker
from tests.kafka.reading import name_of

from waybill.messaging.adapters.kafka.log import KafkaLog
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.adapters.memory import MemoryDatabase
from waybill.messaging.adapters.memory.partition_positions import MemoryPartitionPositions
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.message import Record
from waybill.messaging.testing.contracts.log import next_records
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.kafka.broker import Broker

LISTENERS = ("SASL_PLAINTEXT", "SSL", "SASL_SSL")
WRONG = "wrong-but-still-a-secret"


@pytest.fixture(scope="module")
def secured(session_directory: Path) -> Iterator[Broker]:
    """A broker with every kind of listener."""
    with running_broker(session_directory / "secured", listeners=LISTENERS) as broker:
        yield broker


def environment(broker: Broker, protocol: str, mechanism: str) -> dict[str, str]:
    """What an operator sets."""
    return {
        "KAFKA_BROKERS": broker.listeners.address(protocol),
        "KAFKA_SECURITY_PROTOCOL": protocol,
        "KAFKA_SASL_MECHANISM": mechanism,
        "KAFKA_SASL_USERNAME": USER if mechanism else "",
        "KAFKA_SASL_PASSWORD": PASSWORD if mechanism else "",
        "KAFKA_SSL_CA_LOCATION": str(certificate_of(broker.directory)) if "SSL" in protocol else "",
        "KAFKA_POLL_SECONDS": "0.2",
        "KAFKA_REQUEST_TIMEOUT_SECONDS": "5",
    }


def given(variables: Mapping[str, str]) -> KafkaSettings:
    """The settings that they give."""
    settings = KafkaSettings.from_environment(variables)
    assert settings is not None
    return settings


def a_log(settings: KafkaSettings) -> KafkaLog:
    """With positions of its own."""
    return KafkaLog(settings, MemoryPartitionPositions(MemoryDatabase()))


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("SASL_PLAINTEXT", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SSL", ""),
        ("SASL_SSL", "SCRAM-SHA-256"),
    ],
)
async def test_a_message_goes_and_comes_over_a_secured_listener(
    secured: Broker, protocol: str, mechanism: str
) -> None:
    """`KAFKA_*` alone says how: for the producer, the consumer and the topics."""
    settings = given(environment(secured, protocol, mechanism))
    topic = name_of("parcels")
    await Topics(settings).prepare([topic])
    writer = KafkaLogWriter(settings)
    message = a_message("k", topic=topic)
    written = await writer.write([Record("p", 0, 1, message)])
    await writer.close()
    assert written.error is None
    member = await a_log(settings).subscribe(name_of("tracking"), [topic])
    (record,) = (await next_records(member)).records
    await member.close()
    assert record.message == message


@pytest.mark.parametrize(
    ("protocol", "mechanism", "change"),
    [
        ("SASL_PLAINTEXT", "PLAIN", {"KAFKA_SASL_PASSWORD": WRONG}),
        ("SSL", "", {"KAFKA_SSL_CA_LOCATION": ""}),
        ("SSL", "", {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}),
    ],
)
async def test_who_is_not_let_in_waits_and_tells_no_secret(
    secured: Broker,
    protocol: str,
    mechanism: str,
    change: dict[str, str],
    *,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A wrong password or an unknown certificate is an outage until somebody mends it."""
    caplog.set_level(logging.DEBUG)
    told = environment(secured, protocol, mechanism) | change
    settings = given(told | {"KAFKA_REQUEST_TIMEOUT_SECONDS": "1.5"})
    with pytest.raises(TransientError):
        await a_log(settings).subscribe(name_of("tracking"), ["t"])
    writer = KafkaLogWriter(settings)
    writing = asyncio.create_task(writer.write([Record("p", 0, 1, a_message(topic="t"))]))
    with pytest.raises(TransientError):
        await writer.identity()
    await writer.close()
    error = (await writing).error
    shown = f"{settings} {error} {caplog.text} {''.join(capfd.readouterr())}"
    assert WRONG not in shown
    assert PASSWORD not in shown


@pytest.mark.long
async def test_members_outlive_a_broker_and_leave_without_one(secured: Broker) -> None:
    """Protocol L5, P11: a broker that was killed is back within seconds; none stops a stop."""
    settings = given(environment(secured, "PLAINTEXT", ""))
    topic = name_of("parcels")
    await Topics(settings).prepare([topic])
    writer = KafkaLogWriter(settings)
    member = await a_log(settings).subscribe(name_of("tracking"), [topic])
    await writer.write([Record("p", 0, 1, a_message("k", topic=topic))])
    (record,) = (await next_records(member)).records
    await asyncio.to_thread(secured.kill)
    with pytest.raises(TransientError):
        async with asyncio.timeout(30.0):
            while True:
                await member.fetch(10)
    late = a_message("k", topic=topic)
    writing = asyncio.create_task(writer.write([Record("p", 0, 2, late)]))
    await asyncio.to_thread(secured.start)
    assert (await writing).error is None
    async with asyncio.timeout(20.0):
        after = record
        while after.message.id != late.id:
            try:
                (after, *_) = (await member.fetch(10)).records or (record,)
            except TransientError:
                await member.rewind()
    await asyncio.to_thread(secured.kill)
    began = time.monotonic()
    await member.close()
    await writer.close()
    assert time.monotonic() - began < settings.close_seconds_max + 3.0

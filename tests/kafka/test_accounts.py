"""Account events on Kafka: as every other event, through the outbox and the relay."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from confluent_kafka import Consumer
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.kafka.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
ACCOUNTS = 6


@pytest.fixture
def bootstrap(session_directory: Path) -> Iterator[str]:
    """A broker of this test alone."""
    with running_broker(session_directory / "accounts-broker") as broker:
        yield broker.bootstrap


@pytest.fixture
def platform(session_directory: Path, bootstrap: str) -> Iterator[PlatformProcess]:
    """A running platform with accounts whose services meet on Kafka."""
    directory = Path(tempfile.mkdtemp(prefix="accounts-kafka-", dir=session_directory))
    directory.chmod(0o711)
    environment = {"WAYBILL_ACCOUNTS": "true", "KAFKA_BROKERS": bootstrap}
    platform = PlatformProcess(
        directory / "data", port_base=free_port_base(), environment=environment
    )
    try:
        yield platform.start()
    finally:
        platform.close()
        shutil.rmtree(directory, ignore_errors=True)


def _ready(platform: PlatformProcess) -> bool:
    try:
        return platform.client.get(f"{platform.url(ACCOUNTS)}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def test_a_registration_is_told_on_its_topic(platform: PlatformProcess, bootstrap: str) -> None:
    """Issue 7: registered goes out by the relay; its key is the account's id, no address in it."""
    credentials = {"email": "ada@example.org", "password": "correct horse battery"}
    url = f"{platform.url(ACCOUNTS)}/api/v1/auth/register"
    wait_for(lambda: _ready(platform), 40, "the accounts service")
    account = platform.client.post(url, json=credentials).json()
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["account-events"])
    try:
        record = wait_for(lambda: consumer.poll(1.0), 40, "the record")
    finally:
        consumer.close()
    key, value = record.key(), record.value()
    assert key is not None
    assert value is not None
    assert key.decode() == account["id"]
    assert json.loads(value)["accountId"] == account["id"]
    assert b"@" not in value

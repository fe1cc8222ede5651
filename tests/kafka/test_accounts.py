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


def _register(platform: PlatformProcess, email: str) -> dict[str, str]:
    credentials = {"email": email, "password": "correct horse battery"}
    url = f"{platform.url(ACCOUNTS)}/api/v1/auth/register"
    wait_for(lambda: _ready(platform), 40, "the accounts service")
    answer = platform.client.post(url, json=credentials)
    assert answer.status_code == 201, answer.text
    account: dict[str, str] = answer.json()
    return account


def test_a_registration_is_told_on_its_topic(platform: PlatformProcess, bootstrap: str) -> None:
    """Registered goes out by the relay; its key is the account's id, no address in it.

    `waybill lag` counts it, and `waybill drain` takes that outbox along, back to direct reading.
    """
    account = _register(platform, "ada@example.org")
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
    kept_up = platform.run("lag", "--max-rows", "0", "--within", "40")
    assert kept_up.returncode == 0, kept_up.stderr
    assert "accounts-service" in kept_up.stdout
    drained = platform.run("drain", "--wait", "40")
    assert drained.returncode == 0, drained.stderr
    assert "accounts-service is drained" in drained.stdout
    assert platform.stop() == 0
    del platform.environment["KAFKA_BROKERS"]
    platform.start()
    _register(platform, "bob@example.org")
    audited = platform.run("audit", "--settle", "40")
    assert audited.returncode == 0, audited.stdout + audited.stderr

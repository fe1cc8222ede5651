"""A platform moves to Kafka and back while customers order: one story on real processes (L6)."""

from __future__ import annotations

import shutil
import subprocess
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.kafka.records import headers_of, records_until

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confluent_kafka import Message
    from tests.kafka.broker import OtherBroker

pytestmark = pytest.mark.acceptance


@pytest.fixture
def platform(session_directory: Path, provisioned_data: Path) -> Iterator[PlatformProcess]:
    """On fresh data, not started."""
    directory = session_directory / "switch"
    directory.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
    made = PlatformProcess(directory / "data", port_base=free_port_base(), environment={})
    with closing(made):
        yield made
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def customers(platform: PlatformProcess) -> Iterator[list[str]]:
    """Somebody orders all the time; the ids of what was accepted."""
    placed: list[str] = []
    over = threading.Event()

    def order() -> None:
        with httpx2.Client(timeout=30) as client:
            while not over.is_set():
                try:
                    answer = platform.place(str(new_id()), client=client)
                except httpx2.TransportError:
                    over.wait(0.1)
                    continue
                if answer.status_code == 201:
                    placed.append(answer.json()["id"])
                over.wait(0.02)

    thread = threading.Thread(target=order)
    thread.start()
    try:
        yield placed
    finally:
        over.set()
        thread.join()


def refused(platform: PlatformProcess) -> str:
    """Why it does not start."""
    platform.launch()
    assert platform.process is not None
    assert platform.process.wait(timeout=60) == 1
    return platform.tail().splitlines()[-1]


def one_ends(platform: PlatformProcess) -> str:
    """An order that is placed now goes all the way; 503 is an answer, too. Its id."""

    def placed() -> str | None:
        answer = platform.place(str(new_id()))
        return str(answer.json()["id"]) if answer.status_code == 201 else None

    order_id = wait_for(placed, 30, "an order is accepted")
    platform.ended(order_id)
    return order_id


def sent_again(platform: PlatformProcess, bootstrap: str, order_id: str) -> None:
    """An operator rewinds the relay of the order service: what it had sent comes once more."""

    def came(records: list[Message]) -> int:
        of_order = [headers_of(each) for each in records if each.key() == order_id.encode()]
        return [each["eventType"] for each in of_order].count(b"OrderCreated")

    before = came(records_until(bootstrap, ["order-events"], lambda found: came(found) > 0))
    answer = platform.run("relay", "rewind", "order-service")
    assert answer.returncode == 0, answer.stderr
    assert "order-service is sent again from seq 1\n" in answer.stdout
    records_until(bootstrap, ["order-events"], lambda found: came(found) > before)


def test_a_platform_moves_to_kafka_and_back(platform: PlatformProcess, kafka: OtherBroker) -> None:
    """Protocol L6: refused before the drain, and after it nothing is lost and nothing doubled.

    On Kafka the order service's outbox is sent once more, on demand (L1). Orders are on their way
    at each step; the audit looks at all of them at the end.
    """
    on_kafka = {"KAFKA_BROKERS": kafka.bootstrap}
    platform.start().raise_stock()
    with customers(platform) as placed:
        one_ends(platform)
        assert platform.stop() == 0

        platform.environment = on_kafka
        assert "waybill drain" in refused(platform)

        platform.environment = {}
        platform.start()
        answer = platform.run("drain", "--wait", "60")
        assert answer.returncode == 0, answer.stderr
        assert "order-service is drained: Kafka begins behind seq" in answer.stdout
        assert platform.stop() == 0

        platform.environment = on_kafka
        platform.start()
        order_id = one_ends(platform)
        status = platform.run("relay", "status")
        assert status.stdout.count("relay") >= 4, status.stdout
        sent_again(platform, kafka.bootstrap, order_id)
        assert platform.stop() == 0

        platform.environment = {}
        assert "KAFKA_BROKERS" in refused(platform)

        platform.environment = on_kafka
        platform.start()
        answer = platform.run("drain", "--wait", "60")
        assert answer.returncode == 0, answer.stderr
        assert "direct reading begins behind seq" in answer.stdout
        assert platform.stop() == 0

        platform.environment = {}
        platform.start()
    assert len(placed) > 20
    for order_id in placed:
        platform.ended(order_id)
    assert_balanced(platform)

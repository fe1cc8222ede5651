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

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def one_ends(platform: PlatformProcess) -> None:
    """An order that is placed now goes all the way; 503 is an answer, too."""

    def placed() -> str | None:
        answer = platform.place(str(new_id()))
        return str(answer.json()["id"]) if answer.status_code == 201 else None

    platform.ended(wait_for(placed, 30, "an order is accepted"))


def test_a_platform_moves_to_kafka_and_back(platform: PlatformProcess, kafka: OtherBroker) -> None:
    """Protocol L6: refused before the drain, and after it nothing is lost and nothing doubled.

    Orders are on their way at each step; the audit looks at all of them at the end.
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
        one_ends(platform)
        status = platform.run("relay", "status")
        assert status.stdout.count("relay") >= 4, status.stdout
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

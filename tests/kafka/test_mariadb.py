"""`reservation` on MariaDB and Kafka: the relay, its operators' commands, and the way there."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.engines import on_engine, provisioned, rows
from tests.acceptance.processes import wait_for
from tests.acceptance.test_reservation import becomes, level, place, reservation_platform, stock
from tests.kafka.broker import running_broker
from tests.mariadb import SERVERS

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.processes import PlatformProcess

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("engine", SERVERS),
]
TOO_LARGE_BYTES = 4_000_000
NOTE = """
INSERT INTO messaging.outbox (
    lane, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id, producer,
    headers, occurred_at
) VALUES ($3, $1, 'Order', $2, 'order.noted', $4, 1, 'order.created', $2, 'order-service', '{}',
          NOW(6))
"""


@pytest.fixture
def platform(
    request: pytest.FixtureRequest, session_directory: Path, engine: str
) -> Iterator[PlatformProcess]:
    """On databases of this test's own, not started; its environment names no broker."""
    directory = Path(tempfile.mkdtemp(prefix="reservation-kafka-", dir=session_directory))
    directory.chmod(0o711)
    with on_engine(request, engine) as databases:
        platform = reservation_platform(directory, **databases)
        try:
            yield provisioned(platform)
        finally:
            platform.close()
            shutil.rmtree(directory, ignore_errors=True)


def lines(platform: PlatformProcess, *command: str) -> list[dict[str, Any]]:
    """What a command says with --json."""
    answer = platform.run(*command, "--json")
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def keeps_up(platform: PlatformProcess) -> None:
    """Everything is sent and read."""
    gate = platform.run("lag", "--max-rows", "0", "--within", "40")
    assert gate.returncode == 0, gate.stdout + gate.stderr


def audited(platform: PlatformProcess) -> str:
    """A clean report's text."""
    report = platform.run("audit", "--settle", "30")
    assert report.returncode == 0, report.stdout + report.stderr
    return report.stdout


def hold_and_skip(platform: PlatformProcess) -> None:
    """A record that Kafka takes never is shown, and goes by an operator's word."""
    message_id, key = new_id(), str(new_id())
    rows(platform, "order", NOTE, message_id, key, lane_of(key), b"x" * TOO_LARGE_BYTES)
    (held,) = wait_for(lambda: lines(platform, "outbox", "held", "list"), 30, "it is held")
    assert (held["id"], held["state"], held["bytes"]) == (str(message_id), "HELD", TOO_LARGE_BYTES)
    (status,) = [
        each for each in lines(platform, "relay", "status") if each["service"] == "order-service"
    ]
    assert (status["mode"], status["held"]) == ("relay", 1)
    skipped = platform.run("outbox", "held", "skip", str(message_id), "--why", "a test's")
    assert skipped.returncode == 0, skipped.stderr
    wait_for(lambda: not lines(platform, "outbox", "held", "list") or None, 30, "it was let go")


def test_orders_end_over_kafka_and_operators_see_and_act(
    platform: PlatformProcess, session_directory: Path
) -> None:
    """Confirmed, failed, cancelled; status, lag, consumers, held records and a rewind (L1, L4)."""
    with running_broker(session_directory / "mariadb-relay-broker") as broker:
        platform.environment["KAFKA_BROKERS"] = broker.bootstrap
        platform.start()
        stock(platform, "SKU-1", 3)
        confirmed = place(platform, "SKU-1", 2).json()["orderId"]
        becomes(platform, confirmed, "CONFIRMED")
        failed = place(platform, "SKU-1", 2).json()["orderId"]
        becomes(platform, failed, "FAILED")
        cancel = f"{platform.url(1)}/api/orders/{confirmed}/cancel"
        assert platform.client.post(cancel).json()["status"] == "CANCELED"
        wait_for(lambda: level(platform, "SKU-1") == (3, 0) or None, 30, "the stock is back")
        keeps_up(platform)
        places = lines(platform, "consumers", "list")
        assert {each["lag"] for each in places} == {0}
        refused = platform.run("consumers", "reset", "inventory-service", "order-service")
        assert "feeds Kafka" in refused.stderr
        again = platform.run("relay", "rewind", "order-service")
        assert "order-service is sent again from seq 1" in again.stdout, again.stderr
        keeps_up(platform)
        assert level(platform, "SKU-1") == (3, 0), "what comes twice is applied once"
        assert "I16   Q     clean" in audited(platform)
        hold_and_skip(platform)  # a record that the audit would ask about
        assert platform.stop() == 0


def test_a_platform_moves_to_kafka_and_back(
    platform: PlatformProcess, session_directory: Path
) -> None:
    """Protocol L6: refused before the drain; after it nothing is lost and nothing doubled."""
    placed: list[str] = []

    def order(count: int = 5) -> None:
        placed.extend(place(platform, "SKU-1", 1).json()["orderId"] for _ in range(count))

    def refused(words: str) -> None:
        platform.launch()
        assert platform.process is not None
        assert platform.process.wait(timeout=60) == 1
        assert words in platform.tail().splitlines()[-1]

    def drained(words: str) -> None:
        answer = platform.run("drain", "--wait", "60")
        assert words in answer.stdout, answer.stderr
        order()  # what comes behind the boundary goes the new way
        assert platform.stop() == 0

    platform.start()
    stock(platform, "SKU-1", 1_000)
    order()
    assert platform.stop() == 0
    with running_broker(session_directory / "mariadb-switch-broker") as broker:
        platform.environment["KAFKA_BROKERS"] = broker.bootstrap
        refused("waybill drain")
        del platform.environment["KAFKA_BROKERS"]
        platform.start()
        order()
        drained("order-service is drained: Kafka begins behind seq")
        platform.environment["KAFKA_BROKERS"] = broker.bootstrap
        platform.start()
        for order_id in placed:
            becomes(platform, order_id, "CONFIRMED")
        order()
        drained("order-service is drained: direct reading begins behind seq")
    del platform.environment["KAFKA_BROKERS"]
    platform.start()
    order()
    for order_id in placed:
        becomes(platform, order_id, "CONFIRMED")
    wait_for(
        lambda: level(platform, "SKU-1") == (1_000 - len(placed), len(placed)) or None,
        30,
        "every order has its stock once",
    )
    audited(platform)

"""The whole platform over Debezium in the relay's place (protocol L6), and its faults."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import wait_for
from tests.faults import captured
from tests.faults.brokers import unsent
from tests.faults.site import AROUND, END_SECONDS, endures
from tests.kafka.records import headers_of, records_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Message
    from tests.faults.captured import Captured

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
TOPICS = ["order-events", "payment-events", "inventory-events"]
CONFIRMED = "SELECT count(*) FROM app.orders WHERE status = 'CONFIRMED'"
ROUTED = "id"
"""A header of Debezium's router that our relay never writes."""


@pytest.fixture(scope="module")
def made(session_directory: Path, provisioned_data: Path) -> Iterator[Captured]:
    """Four services, four connectors; each fault leaves them well."""
    directory = Path(tempfile.mkdtemp(prefix="captured-", dir=session_directory))
    directory.chmod(0o711)
    subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
    with captured.captured(directory, directory / "data") as running:
        yield running
    shutil.rmtree(directory, ignore_errors=True)


def test_orders_go_all_their_way_through_the_connectors(made: Captured) -> None:
    """R137, R299: every event is Debezium's, every order ends, and the books are right."""
    site = made.site
    endures(site, lambda: site.accept(AROUND * 4))
    assert site.value("order", CONFIRMED)
    published = {service: sent(made, service) for service in ("order", "payment", "inventory")}
    assert all(published.values())

    def all_there(records: list[Message]) -> bool:
        return len({headers_of(each)["eventId"] for each in records}) >= sum(published.values())

    records = records_until(site.broker.broker.bootstrap, TOPICS, all_there)
    assert all(headers_of(each)[ROUTED] == headers_of(each)["eventId"] for each in records)


def sent(made: Captured, service: str) -> int:
    """Rows of a service's outbox."""
    return int(made.site.value(service, "SELECT count(*) FROM messaging.outbox"))


@pytest.mark.parametrize("seconds", [10.0, 60.0])
def test_the_connectors_are_away(made: Captured, seconds: float) -> None:
    """Protocol L6: orders are taken and wait in the outboxes; they end once Connect is back."""
    endures(made.site, partial(captured.stopped, made, seconds))


def test_kafka_refuses_a_record(made: Captured) -> None:
    """It stops the connector and the alert has its reason; the relay takes over and holds it.

    Then the connector begins anew behind it, as docs/library/cdc.md says.
    """
    try:
        endures(made.site, partial(captured.refused, made))
        endures(made.site, partial(captured.given_back, made))
    except BaseException:
        print(made.worker.told()[-8000:])  # noqa: T201 - pytest shows it
        raise
    wait_for(lambda: unsent(made.site) == 0, END_SECONDS, "all is in Kafka")

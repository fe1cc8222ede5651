"""The whole platform over Debezium in the relay's place (protocol L6), and its faults."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import wait_for
from tests.acceptance.stages import CHOREOGRAPHY, STAGES
from tests.faults import captured
from tests.faults.brokers import unsent
from tests.faults.site import AROUND, END_SECONDS, endures
from tests.kafka.records import headers_of, records_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Message
    from tests.acceptance.stages import Stage
    from tests.faults.captured import Captured

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
CONFIRMED = "SELECT count(*) FROM app.orders WHERE status = 'CONFIRMED'"
ROUTED = "id"
"""A header of Debezium's router that our relay never writes."""


@contextmanager
def platform(parent: Path, provisioned_data: Path, stage: Stage) -> Iterator[Captured]:
    """A connector for each of its services."""
    directory = Path(tempfile.mkdtemp(prefix="captured-", dir=parent))
    directory.chmod(0o711)
    with captured.captured(directory, provisioned_data, stage) as running:
        yield running
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def telling(made: Captured) -> Iterator[None]:
    """A test that fails shows what the connectors say, and how much waits in each outbox."""
    try:
        yield
    except BaseException:
        for service in made.site.services:
            state = made.worker.state(f"waybill-{service}-outbox")
            print(f"{service}: {state}, {sent(made, service)} rows")  # noqa: T201 - pytest shows it
        print(f"unsent: {unsent(made.site)}\n{made.worker.told()[-8000:]}")  # noqa: T201 - as above
        raise


@pytest.fixture(scope="module")
def made(session_directory: Path, provisioned_data: Path) -> Iterator[Captured]:
    """Four services, four connectors; each fault leaves them well."""
    with platform(session_directory, provisioned_data, CHOREOGRAPHY) as running:
        yield running


def test_orders_go_all_their_way_through_the_connectors(made: Captured) -> None:
    """R137, R299: every event is Debezium's, every order ends, and the books are right."""
    go_all_their_way(made)


def test_orders_of_seed_001_go_through_the_connectors(
    session_directory: Path, provisioned_data: Path
) -> None:
    """R137, R299: a topic for each event, three services, no process of ours between."""
    with platform(session_directory, provisioned_data, STAGES["reservation"]) as running:
        go_all_their_way(running)


def go_all_their_way(made: Captured) -> None:
    """Customers order for a while; what stands in the topics is the connectors' alone."""
    site = made.site
    with telling(made):
        endures(site, lambda: site.accept(AROUND * 4))
    assert site.value("order", CONFIRMED)
    blueprint = site.stage.blueprint
    writers = [each.database for each in blueprint.services.values() if each.publishes]
    published = {service: sent(made, service) for service in writers}
    assert all(published.values())

    def all_there(records: list[Message]) -> bool:
        return len({headers_of(each)["eventId"] for each in records}) >= sum(published.values())

    records = records_until(site.broker.broker.bootstrap, list(blueprint.topics), all_there)
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
    with telling(made):
        endures(made.site, partial(captured.refused, made))
        endures(made.site, partial(captured.given_back, made))
    wait_for(lambda: unsent(made.site) == 0, END_SECONDS, "all is in Kafka")

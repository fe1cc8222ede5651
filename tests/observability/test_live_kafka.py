"""The same on Kafka: its queries find data, and a stopped broker fires its alert and no other."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import wait_for
from tests.acceptance.runbook import RUNBOOK, commands, complaint, complaints, sections
from tests.acceptance.test_poison import POISON
from tests.faults.topics import HUGE
from tests.kafka.broker import Broker, running_broker
from tests.observability import prometheus as real
from tests.observability.files import alerts, panels, selectors, without_threshold
from tests.observability.observed import at_work, scraped

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.site import Site
    from tests.observability.prometheus import Prometheus

pytestmark = [pytest.mark.acceptance, pytest.mark.long]


@pytest.fixture(scope="module")
def broker(session_directory: Path) -> Iterator[Broker]:
    """A broker that may be stopped."""
    with running_broker(session_directory / "observed-kafka") as made:
        yield made


@pytest.fixture(scope="module")
def site(broker: Broker, session_directory: Path, provisioned_data: Path) -> Iterator[Site]:
    """Four services that meet on Kafka, and some orders."""
    directory = session_directory / "observed-on-kafka"
    until, brokers = "orders_confirmed_total", broker.bootstrap
    with at_work(
        directory, provisioned_data, orders=10, until=until, KAFKA_BROKERS=brokers
    ) as made:
        yield made


@pytest.fixture(scope="module")
def prometheus(site: Site, session_directory: Path) -> Iterator[Prometheus]:
    """Prometheus, scraping each service where it runs."""
    with scraped(site, session_directory / "prometheus-on-kafka") as running:
        yield running


def test_queries_of_kafka_find_data(prometheus: Prometheus) -> None:
    """No panel and no alert asks for what is not exposed, lag by group not either."""
    queries = {query for panel in panels() for query in panel.queries if panel.kafka}
    queries |= {query for panel in panels() for query in panel.queries if "lag" in query}
    for alert in alerts():
        queries |= {name for name in selectors(alert.expression) if alert.kafka or "kafka" in name}
        queries |= {without_threshold(alert.expression)} if alert.kafka else set()
    assert len(queries) > 15
    assert {query for query in queries if not prometheus.query(query)} == set()


def test_the_runbook_for_alerts_of_kafka_runs(site: Site, prometheus: Prometheus) -> None:
    """With a record that Kafka does not take: it is told of, shown, and skipped by its command."""
    message, key = str(new_id()), str(new_id())
    site.value("order", POISON, message, key, lane_of(key), HUGE)
    prometheus.fires("RecordsHeld")
    assert prometheus.firing() == {"RecordsHeld"}
    names = [alert.name for alert in alerts() if alert.kafka]
    every = sorted({line for name in names for line in commands(sections()[name])})
    assert len(every) >= 6
    assert complaints(site.order, every) == []
    (listing,) = [line for line in commands(sections()["RecordsHeld"]) if "held list" in line]
    told = site.order.run(*listing.split()[1:], "--json").stdout
    assert message in told
    (skipping,) = [line for line in commands(RUNBOOK.read_text()) if "held skip" in line]
    assert complaint(site.order, skipping, MESSAGE=message) == ""
    prometheus.is_quiet()


def test_a_stopped_broker_fires_its_alert_alone(
    site: Site, broker: Broker, prometheus: Prometheus
) -> None:
    """What cannot be sent and read meanwhile is told by nobody else; orders are still taken."""
    prometheus.is_quiet()  # partitions that were made just now have no leader for some seconds
    broker.stop()
    with ExitStack() as stack:
        stack.callback(broker.start)
        prometheus.fires("KafkaDown")
        with site.ordering():
            site.accept(5)
        waits = "max(outbox_oldest_unsent_age_seconds)"
        wait_for(
            lambda: float(prometheus.query(waits)[0]["value"][1]) > real.SECONDS + 5,
            60,
            "messages wait for the broker",
        )
        assert prometheus.firing() == {"KafkaDown"}
    prometheus.is_quiet(90)
    wait_for(site.all_ended, 60, "what waited has ended")

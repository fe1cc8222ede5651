"""The other blueprints on Kafka: no query of a dashboard or an alert looks for another's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import wait_for
from tests.acceptance.stages import OTHERS
from tests.kafka.broker import running_broker
from tests.observability.files import alerts, panels, selectors, without_threshold
from tests.observability.observed import at_work, scraped
from tests.observability.test_live import empty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.stages import Stage
    from tests.faults.site import Site
    from tests.observability.prometheus import Prometheus

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
ABSENT = {
    "payment": ("payments_processed_total", "payments_failed_total"),
    "inventory": ("stock_reserved_total",),
}
"""What is counted by a service that not every blueprint has."""
DIRECT = ("outbox_reader_silent_seconds",)
"""What there is without Kafka only."""


@pytest.fixture(params=OTHERS, ids=lambda stage: stage.name)
def site(
    request: pytest.FixtureRequest, tmp_path: Path, session_directory: Path, provisioned_data: Path
) -> Iterator[Site]:
    """Its services meet on Kafka, and some orders went through."""
    stage = request.param
    with (
        running_broker(tmp_path / "broker") as broker,
        at_work(
            session_directory / f"observed-{stage.name}",
            provisioned_data,
            orders=10,
            until="orders_confirmed_total",
            stage=stage,
            KAFKA_BROKERS=broker.bootstrap,
        ) as made,
    ):
        yield made


@pytest.fixture
def prometheus(site: Site, tmp_path: Path) -> Iterator[Prometheus]:
    """Prometheus, scraping each service where it runs."""
    with scraped(site, tmp_path / "prometheus") as running:
        yield running


def not_there(stage: Stage) -> tuple[str, ...]:
    """How series begin that this blueprint has nothing to count for."""
    absent = ABSENT.keys() - stage.offsets.keys()
    return (*(name for service in absent for name in ABSENT[service]), *DIRECT)


def test_every_query_finds_data(site: Site, prometheus: Prometheus) -> None:
    """R236: lag by its topics, figures of its orders; empty is only what its document has not."""
    queries = {query for panel in panels() for query in panel.queries}
    for alert in alerts():
        if not alert.audit:
            queries |= {*selectors(alert.expression), without_threshold(alert.expression)}
    names = not_there(site.stage)
    expected = {query for query in queries if any(name in query for name in names)}
    assert empty(prometheus, queries) == expected
    services = site.stage.blueprint.services.values()
    acted_on = {(each.name, topic) for each in services for topic in each.acts_on}

    def routes() -> set[tuple[str, str]]:
        lag = prometheus.query("kafka_consumergroup_lag")
        return {(each["metric"]["group"], each["metric"]["topic"]) for each in lag}

    wait_for(lambda: routes() >= acted_on, 30, "the lag of every topic that somebody acts on")

"""A real Prometheus on a real platform: every query finds data, faults fire what they should.

By default one fault is planted; test_alerts.py has promtool try each alert, alone.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import wait_for
from tests.observability import prometheus as real
from tests.observability.files import alerts, panels, selectors, without_threshold
from tests.observability.observed import at_work, scraped

from waybill.messaging.core.identity import new_id
from waybill.platform.audit_figures import FINISHED, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.site import Site
    from tests.observability.prometheus import Prometheus

pytestmark = pytest.mark.acceptance

KAFKA_ONLY = frozenset({"kafka_up"})
LETTER = """
INSERT INTO messaging.dead_letters (id, consumer, message_id, source, topic, lane, seq, key, value,
    type, version, aggregate_type, correlation_id, producer, headers, occurred_at, error_type,
    error_message, stacktrace)
VALUES ($1, 'notification-service', $1, 's', 'order-events', 1, 1, 'k', '', 'X', 1, 'Order', 'k',
    'p', '{}', now(), 'E', 'e', '')
"""
MORE = """
UPDATE app.orders SET total_amount = total_amount + {amount}
WHERE id = (SELECT id FROM app.orders ORDER BY id LIMIT 1)
"""
DISCARD = "UPDATE messaging.dead_letters SET verdict = 'DISCARDED'"


@pytest.fixture(scope="module")
def site(session_directory: Path, provisioned_data: Path) -> Iterator[Site]:
    """Four services, a PostgreSQL that the test may stop, and orders of every outcome."""
    directory = session_directory / "observed"
    until = "orders_cancelled_total"
    with at_work(directory, provisioned_data, orders=30, until=until) as made:
        yield made


@pytest.fixture(scope="module")
def prometheus(site: Site, session_directory: Path) -> Iterator[Prometheus]:
    """Prometheus, scraping each service where it runs."""
    with scraped(site, session_directory / "prometheus") as running:
        yield running


def empty(prometheus: Prometheus, expressions: set[str]) -> set[str]:
    """Those that find no data."""
    return {text for text in expressions if not prometheus.query(text)}


def ended(prometheus: Prometheus) -> float:
    """When the last audit that was scraped had ended; 0: none."""
    found = prometheus.query(FINISHED)
    return float(found[0]["value"][1]) if found else 0.0


def audited(site: Site, prometheus: Prometheus) -> None:
    """`waybill audit`, and its figures are scraped."""
    before = ended(prometheus)
    done = site.order.run("audit", "--settle", "60", "--prometheus", str(site.data / NAME))
    assert done.returncode in {0, 1}, done.stderr
    wait_for(lambda: ended(prometheus) > before, 30, "the audit is scraped")


def test_every_panel_finds_data(prometheus: Prometheus) -> None:
    """R230: no query of any dashboard asks for what is not exposed."""
    queries = {query for panel in panels() if not panel.kafka for query in panel.queries}
    assert len(queries) > 50
    assert empty(prometheus, queries) == set()


def test_every_alert_finds_its_series(site: Site, prometheus: Prometheus) -> None:
    """An alert that looks at nothing can never fire: each series and each value is there.

    Those of the audit from the first one on (docs/audit.md).
    """
    assert prometheus.query(FINISHED) == []
    audited(site, prometheus)
    ours = [alert for alert in alerts() if not alert.kafka]
    looked_at = {name for alert in ours for name in selectors(alert.expression)}
    assert empty(prometheus, looked_at - KAFKA_ONLY) == set()
    values = {without_threshold(alert.expression) for alert in ours}
    assert empty(prometheus, values) == set()


def test_health_fires_nothing(prometheus: Prometheus) -> None:
    """A platform at work wakes nobody, though every pause is short here."""
    assert prometheus.ran() > 5
    assert prometheus.firing() == set()


@pytest.mark.long
def test_a_lie_in_the_books_fires_its_alert_alone(site: Site, prometheus: Prometheus) -> None:
    """From the audit that finds it to the one that finds it mended."""
    site.rows("order", MORE.format(amount="0.01"))
    audited(site, prometheus)
    prometheus.fires("AuditViolated")
    assert prometheus.firing() == {"AuditViolated"}
    site.rows("order", MORE.format(amount="-0.01"))
    audited(site, prometheus)
    prometheus.is_quiet()


def test_a_dead_letter_fires_its_alert_alone(site: Site, prometheus: Prometheus) -> None:
    """DLQ > 0 is alarmed (promises, alerts), until somebody gave a verdict."""
    site.rows("notification", LETTER, new_id())
    prometheus.fires("DeadLettersOpen")
    assert prometheus.firing() == {"DeadLettersOpen"}
    site.rows("notification", DISCARD)
    prometheus.is_quiet()


@pytest.mark.long
def test_a_stopped_service_fires_its_alert_alone(site: Site, prometheus: Prometheus) -> None:
    """What nobody reads while its reader is down is told by the reader's alert and no other."""
    service = site.services["notification"]
    with ExitStack() as stack:
        service.kill_process()
        stack.callback(service.start)
        prometheus.fires("ServiceDown")
        with site.ordering():
            site.accept(3)
        waits = 'max(kafka_consumergroup_lag_seconds{group="notification-service"})'
        wait_for(
            lambda: float(prometheus.query(waits)[0]["value"][1]) > real.SECONDS + 5,
            60,
            "events wait for the service that is down",
        )
        assert prometheus.firing() == {"ServiceDown"}
    prometheus.is_quiet()


@pytest.mark.long
def test_a_stopped_database_fires_its_alert_alone(site: Site, prometheus: Prometheus) -> None:
    """Loops that wait, units that roll back and figures that grow old are no alerts beside it."""
    site.server.take_down(signal.SIGINT)
    with ExitStack() as stack:
        stack.callback(site.server.bring_up)
        prometheus.fires("DatabaseDown")
        old = 'min(figures_age_seconds{look="backlog"})'
        wait_for(
            lambda: float(prometheus.query(old)[0]["value"][1]) > real.SECONDS + 5,
            60,
            "figures grow old",
        )
        assert prometheus.firing() == {"DatabaseDown"}
    prometheus.is_quiet()

"""Metrics appear under the names that the documents and the ecosystem promise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder

from waybill.messaging.core.breaker import CALLS, Breaker, BreakerPolicy, BreakerState
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.runtime.loop import Loop
from waybill.messaging.runtime.ports import SilentObserver
from waybill.messaging.runtime.supervisor import Supervisor
from waybill.messaging.testing.clock import FakeClock
from waybill.platform.metrics import RecentMaximum, ServiceMetrics
from waybill.platform.sampling import follow_breaker

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Observer

SERVICES = ("order-service", "inventory-service", "payment-service", "notification-service")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def exposed(metrics: ServiceMetrics) -> dict[str, float]:
    """Samples as a scraper sees them, without comments."""
    lines = generate_latest(metrics.registry).decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("order-service", "orders_created_total"),
        ("order-service", "orders_confirmed_total"),
        ("order-service", "orders_cancelled_total"),
        ("order-service", "orders_submitted_total"),
        ("order-service", "outbox_published_total"),
        ("inventory-service", "outbox_published_total"),
        ("payment-service", "outbox_published_total"),
        ("payment-service", "outbox_publish_failures_total"),
        ("inventory-service", "stock_reserved_total"),
        ("payment-service", "payments_failed_total"),
    ],
)
def test_documented_counters_are_there_at_zero_from_the_start(service: str, name: str) -> None:
    """A dashboard shows 0 before the first event, under exactly the documents' name (1.6)."""
    sample = f'{name}{{application="{service}"}}'
    assert exposed(ServiceMetrics(service, version="1"))[sample] == 0


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_payments_are_counted_by_outcome(outcome: str) -> None:
    """Both outcomes are there at 0, and one counts apart from the other."""
    metrics = ServiceMetrics("payment-service", version="1")
    metrics.add("payments_processed_total", 3, outcome=outcome)
    found = exposed(metrics)
    name = 'payments_processed_total{{application="payment-service",outcome="{}"}}'
    assert found[name.format(outcome)] == 3
    assert sum(found[name.format(each)] for each in ("success", "failure")) == 3
    failed = found['payments_failed_total{application="payment-service"}']
    assert failed == (3 if outcome == "failure" else 0)


def test_the_other_documents_names_count_along() -> None:
    """Seed 004's names and the saga's say the same as seed 003's (contracts C20)."""
    metrics = ServiceMetrics("order-service", version="1")
    metrics.add("orders_created_total", 5)
    metrics.add("orders_confirmed_total", 3)
    metrics.add("orders_cancelled_total", 2)
    found = exposed(metrics)
    assert found['orders_submitted_total{application="order-service"}'] == 5
    saga = '{application="order-service",saga="choreography"}'
    assert [found[f"saga_{word}_total{saga}"] for word in ("started", "completed", "compensated")]
    assert found[f"saga_started_total{saga}"] == 5
    assert found[f"saga_completed_total{saga}"] == 3
    assert found[f"saga_compensated_total{saga}"] == 2


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_created_total_is_not_mistaken_for_a_suffix(accept: str) -> None:
    """The reference implementation exposed `orders_total` (defect D21); neither format may."""
    metrics = ServiceMetrics("order-service", version="1")
    encode, _ = choose_encoder(accept)
    text = encode(metrics.registry).decode()
    assert '\norders_created_total{application="order-service"} 0.0\n' in text
    assert "_created{" not in text
    assert "orders_created_created" not in text


@pytest.mark.parametrize("service", SERVICES)
def test_every_sample_says_which_application_it_is_of(service: str) -> None:
    """Four services of one process can be told apart, in process metrics too."""
    samples = exposed(ServiceMetrics(service, version="1"))
    assert samples
    assert all(f'application="{service}"' in name for name in samples)


def test_requests_are_timed_under_both_names() -> None:
    """The documents' name and OpenTelemetry's, with the route's template (contracts C44)."""
    clock = Clock()
    metrics = ServiceMetrics("order-service", version="1", clock=clock)
    metrics.responded("POST", "/api/orders", 201, 0.25)
    metrics.responded("POST", "/api/orders", 201, 0.05)
    found = exposed(metrics)
    documented = (
        '{application="order-service",error="none",exception="none",method="POST",'
        'outcome="SUCCESS",status="201",uri="/api/orders"}'
    )
    assert found[f"http_server_requests_seconds_count{documented}"] == 2
    assert found[f"http_server_requests_seconds_sum{documented}"] == pytest.approx(0.30)
    assert found[f"http_server_requests_seconds_max{documented}"] == 0.25
    other = (
        '{application="order-service",http_request_method="POST",'
        'http_response_status_code="201",http_route="/api/orders"}'
    )
    assert found[f"http_server_request_duration_seconds_count{other}"] == 2


def test_the_maximum_is_a_recent_one() -> None:
    """A slow request of an hour ago does not hide today's."""
    clock = Clock()
    longest = RecentMaximum(clock, window=60)
    longest.observe(9.0)
    clock.now += 60
    longest.observe(1.0)
    assert longest.value() == 9.0
    clock.now += 60
    assert longest.value() == 1.0
    clock.now += 600
    assert longest.value() == 0.0


def test_messaging_reports_here() -> None:
    """The runtime's Observer, with what a service will do at 0 before it does it."""
    metrics = ServiceMetrics("payment-service", version="1")
    metrics.expect(topics=["payment-events"], consumers=["payment-service"], deliveries=["charge"])
    before = exposed(metrics)
    observer: Observer = metrics
    observer.published("payment-events", 4)
    observer.processed("payment-service", "processed", 7, 0.01)
    observer.dead_lettered("payment-service", "inventory-events", "UndecodableMessageError")
    observer.retried("payment-service", "TransientError")
    observer.attempted("charge", "delivered", 0.2)
    after = exposed(metrics)
    names = {
        'outbox_published_total{application="payment-service"}': 4,
        'inbox_processed_total{application="payment-service",consumer="payment-service",'
        'result="processed"}': 7,
        'deliveries_attempts_total{application="payment-service",kind="charge",'
        'outcome="delivered"}': 1,
    }
    assert {name: before[name] for name in names} == dict.fromkeys(names, 0)
    assert {name: after[name] for name in names} == names
    dead = (
        'messaging_dead_letters_total{application="payment-service",group="payment-service",'
        'reason="UndecodableMessageError",topic="inventory-events"}'
    )
    assert after[dead] == 1


class Halting(Loop):
    """Works for a while, then asks for an operator."""

    async def work(self) -> None:
        raise ConfigurationError("no")


class Idling(Loop):
    """Waits for ever."""

    async def work(self) -> None:
        await self.idle(asyncio.Event().wait())


async def test_loops_show_their_age_and_whether_they_are_halted() -> None:
    """Readiness's view of the loops is there to be alarmed (overload 5, protocol C10)."""
    clock = FakeClock()
    metrics = ServiceMetrics("order-service", version="1")
    supervisor = Supervisor(clock, lambda: 0.5)
    metrics.watch(lambda: supervisor)
    supervisor.start(
        Halting("bad", clock, SilentObserver()), Idling("good", clock, SilentObserver())
    )
    await clock.settle()
    await clock.advance(12)
    found = exposed(metrics)
    await supervisor.stop()
    where = '{application="order-service",loop="'
    assert found[f'loop_last_progress_age_seconds{where}good"}}'] == 12
    assert found[f'loop_last_progress_age_seconds{where}bad"}}'] == 0
    assert found[f'loop_halted{where}bad"}}'] == 1
    assert found[f'loop_halted{where}good"}}'] == 0
    assert found[f'loop_restarts_total{where}bad"}}'] == 0


def test_calls_are_counted_by_what_the_breaker_made_of_them() -> None:
    """Resilience4j's counter, each kind there at 0 from the start (R182)."""
    metrics = ServiceMetrics("payment-service", version="1")
    breaker = Breaker(BreakerPolicy(calls_min=2, window_size=2), lambda: 0.0)
    follow_breaker(metrics, "charge", breaker, lambda: 1.0)
    calls = 'circuit_breaker_calls_total{{application="payment-service",kind="{}",name="charge"}}'
    assert [exposed(metrics)[calls.format(kind)] for kind in CALLS] == [0, 0, 0, 0]
    ignored, successful, failed = (breaker.permit(0.0) for _ in range(3))
    assert ignored is not None
    assert successful is not None
    assert failed is not None
    breaker.release(ignored, 0.0)
    breaker.record(successful, 0.0, failed=False, seconds=0.1)
    breaker.record(failed, 0.0, failed=True, seconds=0.1)
    assert breaker.permit(1.0) is None
    found = exposed(metrics)
    assert {kind: found[calls.format(kind)] for kind in CALLS} == dict.fromkeys(CALLS, 1)
    state = 'circuit_breaker_state{{application="payment-service",name="charge",state="{}"}}'
    states = {each.value: found[state.format(each.value)] for each in BreakerState}
    assert states.pop("open") == 1
    assert set(states) == {"closed", "half_open", "disabled", "forced_open"}
    assert set(states.values()) == {0}


def test_an_orders_way_is_timed_by_its_outcome() -> None:
    """saga_duration_seconds is there before the first order and knows how orders ended."""
    metrics = ServiceMetrics("order-service", version="1")
    name = (
        'saga_duration_seconds_{}{{application="order-service",outcome="{}",saga="choreography"}}'
    )
    assert exposed(metrics)[name.format("count", "compensated")] == 0
    metrics.observe("saga_duration_seconds", [0.5, 40.0], outcome="completed")
    found = exposed(metrics)
    assert found[name.format("count", "completed")] == 2
    assert found[name.format("sum", "completed")] == 40.5
    assert found[name.format("count", "compensated")] == 0

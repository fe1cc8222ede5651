"""Prometheus metrics of one service, under the documents' names and the ecosystem's.

Guarantees: counters are there at 0 from the start; what is counted is committed (the callers
promise that); every sample carries `application`; no label holds an id or a person's data.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from waybill.messaging.core.errors import LeaseLostError, TransientError
from waybill.platform.metrics_catalogue import (
    ALIASES,
    BUSINESS_COUNTERS,
    DURATIONS,
    GAUGES,
    SECONDS_BUCKETS,
)
from waybill.platform.metrics_collectors import (
    BreakerCalls,
    CacheCollector,
    LoopsCollector,
    RelayCollector,
    StatementsCollector,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from waybill.commerce.caching.cache import WriteBehind
    from waybill.commerce.caching.redis_cache import RedisCache
    from waybill.messaging.core.breaker import Breaker
    from waybill.messaging.runtime.relay_settings import RelayFigures
    from waybill.messaging.runtime.supervisor import Supervisor

MAX_WINDOW_SECONDS: Final = 60.0
"""A maximum is that of the last one to two windows."""

_OUTCOMES: Final = {1: "INFORMATIONAL", 2: "SUCCESS", 3: "REDIRECTION", 4: "CLIENT_ERROR"}


class ServiceRegistry(CollectorRegistry):
    """Adds `application` to every sample, and leaves out the times of creation."""

    def __init__(self, application: str) -> None:
        super().__init__()
        self._application = application

    def collect(self) -> Iterator[Metric]:
        """All metrics, ready to be exposed."""
        for metric in super().collect():
            created = f"{metric.name}_created"
            metric.samples = [
                sample._replace(labels={"application": self._application, **sample.labels})
                for sample in metric.samples
                if sample.name != created
            ]
            yield metric


class ServiceMetrics:
    """Implements messaging's Observer, commerce's Counters and the HTTP edge's HttpObserver.

    None of its methods raises or blocks. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        application: str,
        *,
        version: str,
        commit: str = "unknown",
        saga: str = "choreography",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = ServiceRegistry(application)
        self._saga = saga
        self._clock = clock
        self._make_business_counters(application)
        self._make_durations(application)
        self._make_messaging()
        self._make_http()
        self._gauges: dict[str, Gauge] = {}
        self.set("app_build_info", 1, version=version, commit=commit)
        self.registry.register(StatementsCollector())
        self._breakers = BreakerCalls()
        self.registry.register(self._breakers)
        self._relay = RelayCollector()
        self.registry.register(self._relay)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    # Counters of commerce

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Count committed business facts. An undeclared name is a programming error."""
        counter = self._business[name]
        (counter.labels(**labels) if labels else counter).inc(amount)
        for alias, wanted, extra in ALIASES.get(name, ()):
            if alias in self._business and wanted.items() <= labels.items():
                target = self._business[alias]
                (target.labels(self._saga) if extra == "saga" else target).inc(amount)

    def observe(self, name: str, seconds: Iterable[float], **labels: str) -> None:
        """Take committed durations into account. An undeclared name is a programming error."""
        histogram = self._durations[name].labels(saga=self._saga, **labels)
        for each in seconds:
            histogram.observe(each)

    # Observer of messaging

    def published(self, topic: str, count: int) -> None:
        """See Observer."""
        self._published_total.inc(count)
        self._published(topic).inc(count)

    def processed(self, consumer: str, result: str, count: int, seconds: float) -> None:
        """See Observer."""
        self._processed(consumer, result).inc(count)
        if result == "processed":
            self._batch_seconds(consumer).observe(seconds)

    def dead_lettered(self, consumer: str, topic: str, error_type: str) -> None:
        """See Observer."""
        self._dead_letters(topic, consumer, error_type).inc()

    def retried(self, consumer: str, reason: str) -> None:
        """See Observer."""
        self._retries(consumer, reason).inc()

    def attempted(self, kind: str, outcome: str, seconds: float) -> None:
        """See Observer."""
        self._attempts(kind, outcome).inc()
        self._attempt_seconds(kind).observe(seconds)

    def progressed(self, loop: str) -> None:
        """See Observer. The supervisor knows the ages: `watch` shows them."""

    # HttpObserver

    def responded(self, method: str, route: str, status: int, seconds: float) -> None:
        """See HttpObserver."""
        key = (method, route, status)
        timers = self._requests.get(key)
        if timers is None:  # bounded: method and route come from bounded sets
            outcome = _OUTCOMES.get(status // 100, "SERVER_ERROR")
            documented = (method, route, str(status), outcome, "none", "none")
            longest = RecentMaximum(self._clock)
            self._request_max.labels(*documented).set_function(longest.value)
            timers = self._requests[key] = (
                self._request_seconds.labels(*documented),
                self._request_duration.labels(method, route, str(status)),
                longest,
            )
        timers[0].observe(seconds)
        timers[1].observe(seconds)
        timers[2].observe(seconds)

    # Figures that are looked at, not counted

    def follow(self, name: str, read: Callable[[], float], /, **labels: str) -> None:
        """A gauge of the catalogue shows what `read` gives at that moment; it must not block."""
        self._gauge(name, labels).set_function(read)

    def set(self, name: str, value: float, /, **labels: str) -> None:
        """A gauge of the catalogue shows this from now on."""
        self._gauge(name, labels).set(value)

    def watch(self, supervisor: Callable[[], Supervisor]) -> None:
        """Show how this service's loops are; ConfigurationError means that there are none."""
        self.registry.register(LoopsCollector(supervisor))

    def follow_relay(self, figures: RelayFigures) -> None:
        """Show what the relay of this process has done."""
        self._relay.figures = figures

    def follow_cache(self, cache: RedisCache, writes: WriteBehind) -> None:
        """Show what this service's cache was asked, and what it answered."""
        self.registry.register(CacheCollector(cache, writes))

    def count_calls(self, name: str, breaker: Breaker) -> None:
        """Show what became of the calls that asked this breaker."""
        self._breakers.breakers[name] = breaker

    def expect(
        self,
        *,
        topics: Iterable[str] = (),
        consumers: Iterable[str] = (),
        deliveries: Iterable[str] = (),
    ) -> None:
        """Make the counters of what this service will publish, consume and deliver: at 0."""
        for topic in topics:
            self._published(topic)
        for consumer in consumers:
            for result in ("processed", "duplicate", "skipped", "failed"):
                self._processed(consumer, result)
            for error in (LeaseLostError, TransientError):
                self._retries(consumer, error.__name__)
            self._batch_seconds(consumer)
        for kind in deliveries:
            for outcome in ("delivered", "refused", "failed", "unknown"):
                self._attempts(kind, outcome)
            self._attempt_seconds(kind)

    def _gauge(self, name: str, labels: dict[str, str]) -> Gauge:
        """Made when it is first fed: a figure that nobody looks at is not shown as 0."""
        if name not in self._gauges:
            text, names = GAUGES[name]
            self._gauges[name] = Gauge(name, text, names, registry=self.registry)
        gauge = self._gauges[name]
        return gauge.labels(**labels) if labels else gauge

    def _make_business_counters(self, application: str) -> None:
        self._business: dict[str, Counter] = {}
        for name, counter in BUSINESS_COUNTERS.items():
            if application not in counter.applications:
                continue
            made = Counter(name, counter.text, tuple(counter.labels), registry=self.registry)
            for label, values in counter.labels.items():
                for value in values or (self._saga,):
                    made.labels(**{label: value})
            self._business[name] = made

    def _make_durations(self, application: str) -> None:
        self._durations: dict[str, Histogram] = {}
        for name, duration in DURATIONS.items():
            if application not in duration.applications:
                continue
            labels = ("saga", *duration.labels)
            made = Histogram(
                name, duration.text, labels, registry=self.registry, buckets=duration.buckets
            )
            for label, values in duration.labels.items():
                for value in values:
                    made.labels(**{"saga": self._saga, label: value})
            self._durations[name] = made

    def _make_messaging(self) -> None:
        # A child is looked up under a lock each time; labels are bounded, so ours are kept.
        def counter(name: str, text: str, *labels: str) -> Callable[..., Counter]:
            return cache(Counter(name, text, labels, registry=self.registry).labels)

        def seconds(name: str, text: str, *labels: str) -> Callable[..., Histogram]:
            made = Histogram(name, text, labels, registry=self.registry, buckets=SECONDS_BUCKETS)
            return cache(made.labels)

        self._published_total = Counter(
            "outbox_published_total", "Messages committed to the outbox", registry=self.registry
        )
        self._published = counter(
            "messaging_client_sent_messages_total",
            "Messages committed to the outbox, by topic",
            "topic",
        )
        self._processed = counter(
            "inbox_processed_total", "Messages a consumer took, by result", "consumer", "result"
        )
        self._batch_seconds = seconds(
            "inbox_process_duration_seconds", "One batch, from claim to commit", "consumer"
        )
        self._dead_letters = counter(
            "messaging_dead_letters_total",
            "Messages that became dead letters",
            *("topic", "group", "reason"),
        )
        self._retries = counter(
            "messaging_retries_total",
            "Units rolled back for a transient reason and tried again",
            *("group", "reason"),
        )
        self._attempts = counter(
            "deliveries_attempts_total", "Outside calls, by outcome", "kind", "outcome"
        )
        self._attempt_seconds = seconds(
            "deliveries_attempt_duration_seconds", "One outside call", "kind"
        )

    def _make_http(self) -> None:
        self._requests: dict[tuple[str, str, int], tuple[Histogram, Histogram, RecentMaximum]] = {}
        labels = ("method", "uri", "status", "outcome", "error", "exception")
        self._request_seconds = Histogram(
            "http_server_requests_seconds",
            "HTTP requests answered (the documents' name)",
            labels,
            registry=self.registry,
            buckets=SECONDS_BUCKETS,
        )
        self._request_max = Gauge(
            "http_server_requests_seconds_max",
            "The longest of the last minute or two",
            labels,
            registry=self.registry,
        )
        self._request_duration = Histogram(
            "http_server_request_duration_seconds",
            "HTTP requests answered (OpenTelemetry's name)",
            ("http_request_method", "http_route", "http_response_status_code"),
            registry=self.registry,
            buckets=SECONDS_BUCKETS,
        )


class RecentMaximum:
    """The largest value of the last one to two windows."""

    def __init__(self, clock: Callable[[], float], *, window: float = MAX_WINDOW_SECONDS) -> None:
        self._clock = clock
        self._window = window
        self._began = clock()
        self._current = self._before = 0.0

    def observe(self, value: float) -> None:
        """Take a value into account."""
        self._turn()
        self._current = max(self._current, value)

    def value(self) -> float:
        """The maximum now; 0 after two quiet windows."""
        self._turn()
        return max(self._current, self._before)

    def _turn(self) -> None:
        passed = self._clock() - self._began
        if passed >= self._window:
            self._before = self._current if passed < 2 * self._window else 0.0
            self._current = 0.0
            self._began += passed - passed % self._window

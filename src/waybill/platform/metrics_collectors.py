"""Metrics that others keep and that are read when somebody scrapes: statements, breakers, loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from waybill.messaging.adapters.postgres import statements
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.runtime.relay_settings import RelayFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from waybill.commerce.caching.cache import WriteBehind
    from waybill.commerce.caching.redis_cache import RedisCache
    from waybill.messaging.core.breaker import Breaker
    from waybill.messaging.runtime.supervisor import Supervisor


class StatementsCollector(Collector):
    """The round trips of this process to its databases."""

    def collect(self) -> Iterator[Metric]:
        """One counter, of the whole process like `process_cpu_seconds_total`."""
        text = "Statements that this process has sent to databases, COMMIT too"
        yield CounterMetricFamily("process_database_statements", text, value=statements.sent)


class BreakerCalls(Collector):
    """What became of the calls that asked each breaker."""

    def __init__(self) -> None:
        self.breakers: dict[str, Breaker] = {}

    def collect(self) -> Iterator[Metric]:
        """Resilience4j's counter: the kinds stand in `waybill.messaging.core.breaker.CALLS`."""
        text = "Calls to the outside, by what the breaker made of them"
        family = CounterMetricFamily("circuit_breaker_calls", text, labels=("name", "kind"))
        for name, breaker in self.breakers.items():
            for kind, count in breaker.calls.items():
                family.add_metric((name, kind), count)
        yield family


class RelayCollector(Collector):
    """What a relay has done; without one only its failures, at 0, as the documents have them."""

    def __init__(self) -> None:
        self.figures: RelayFigures | None = None

    def collect(self) -> Iterator[Metric]:
        """Counters since the start of the process, and what the relay holds now."""
        found = self.figures or RelayFigures()
        failures = ("outbox_publish_failures", "Times that sending stopped because of the log")
        yield CounterMetricFamily(*failures, value=found.produce_errors)
        if self.figures is None:
            return
        for name, text, value in (
            ("outbox_sent", "Messages that Kafka has acknowledged, repeats too", found.sent),
            ("outbox_refused", "Messages that Kafka takes never: held since", found.refused),
            ("relay_position_writes", "Positions stored", found.position_writes),
            ("relay_leases_lost", "Lanes that another process took over", found.leases_lost),
        ):
            yield CounterMetricFamily(name, text, value=value)
        yield GaugeMetricFamily("relay_lanes_leased", "Lanes it sends", value=found.lanes)
        yield GaugeMetricFamily("relay_in_flight", "Messages under way", value=found.in_flight)


class CacheCollector(Collector):
    """What became of what a service asked its cache; registered only where it has one."""

    def __init__(self, cache: RedisCache, writes: WriteBehind) -> None:
        self._cache = cache
        self._writes = writes

    def collect(self) -> Iterator[Metric]:
        """Counters since the start of the process, and whether the cache is asked now."""
        text = "Keys that were asked for (hit, miss), and commands that came to nothing"
        asked = CounterMetricFamily("cache_requests", text, labels=("result",))
        for result, count in self._cache.counts.items():
            asked.add_metric([result], count)
        yield asked
        text = "Entries that were not written because too many waited"
        yield CounterMetricFamily("cache_writes_dropped", text, value=self._writes.dropped)
        text = "1 if the cache answered when it was last asked; else the database answers"
        yield GaugeMetricFamily("cache_up", text, value=float(self._cache.is_up))


class LoopsCollector(Collector):
    """The loops of one service, as its supervisor knows them; nothing before they start."""

    def __init__(self, supervisor: Callable[[], Supervisor]) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        """Age of the last turn, whether an operator must act, how often it was started again."""
        try:
            supervisor = self._supervisor()
        except ConfigurationError:  # scraped before the start, or after the stop
            return
        labels = ("loop",)
        age = GaugeMetricFamily(
            "loop_last_progress_age_seconds",
            "Since a loop's last turn; 0 while it waits on purpose",
            labels=labels,
        )
        halted = GaugeMetricFamily(
            "loop_halted", "1 for a loop that waits for an operator", labels=labels
        )
        restarts = CounterMetricFamily(
            "loop_restarts",
            "How often a loop ended by an error and was started again",
            labels=labels,
        )
        for loop, seconds in supervisor.ages_seconds().items():
            is_halted = loop in supervisor.halted
            age.add_metric([loop], 0.0 if is_halted else seconds)
            halted.add_metric([loop], float(is_halted))
            restarts.add_metric([loop], supervisor.restarts[loop])
        yield from (age, halted, restarts)

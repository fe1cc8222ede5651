"""Looks at a service's backlog every few seconds and shows it as gauges."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from waybill.messaging.adapters.postgres.figures import look
from waybill.messaging.core.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.messaging.core.breaker import Breaker
    from waybill.messaging.core.ports import Database
    from waybill.platform.metrics import ServiceMetrics

SAMPLE_SECONDS: Final = 5.0

_UNSETTLED = "SELECT count(*) FROM app.orders WHERE settled_at IS NULL"


def follow_breaker(
    metrics: ServiceMetrics, kind: str, breaker: Breaker, monotonic: Callable[[], float]
) -> None:
    """A gauge a state: 1 for the one that the breaker is in when somebody asks."""

    def is_in(state: BreakerState) -> float:
        return float(breaker.state(monotonic()) is state)

    for state in BreakerState:
        metrics.follow("circuit_breaker_state", partial(is_in, state), name=kind, state=state.value)


class Sampler:
    """Gauges of one service. What has gone shows 0, it does not keep its last value."""

    def __init__(
        self,
        database: Database,
        metrics: ServiceMetrics,
        *,
        consumers: Iterable[str] = (),
        hosts_process: str | None = None,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._hosts = hosts_process
        self._lag: set[tuple[str, str, int]] = set()
        self._letters = set(consumers)
        self._deliveries: set[tuple[str, str]] = set()

    async def turn(self) -> None:
        """One look. Raises TransientError while the database is away."""
        found, show = await look(self._database), self._metrics.set
        show("outbox_pending", found.outbox_pending)
        show("outbox_oldest_pending_age_seconds", found.outbox_oldest_pending_seconds)
        self._lag |= found.lag.keys()
        for group, topic, lane in self._lag:
            rows = found.lag.get((group, topic, lane), 0)
            labels = {"group": group, "topic": topic, "partition": str(lane)}
            show("kafka_consumergroup_lag", rows, **labels)
        self._letters |= found.dead_letters_open.keys()
        for consumer in self._letters:
            count = found.dead_letters_open.get(consumer, 0)
            show("messaging_dead_letters_open", count, consumer=consumer)
        self._deliveries |= found.deliveries_waiting.keys()
        for kind, state in self._deliveries:
            count = found.deliveries_waiting.get((kind, state), 0)
            show("deliveries_waiting", count, kind=kind, state=state.lower())
        if self._hosts is not None:
            (row,) = await self._database.fetch(_UNSETTLED)
            show("saga_active", row[0], saga=self._hosts)

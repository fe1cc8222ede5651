"""Looks at a service's backlog every few seconds and shows it as gauges.

Every process looks for itself: a gauge that only one of several instances kept would be old in the
others. What cannot be looked at keeps its last value and an age that grows.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import asyncpg

from waybill.messaging.adapters.postgres import instance
from waybill.messaging.adapters.postgres.errors import translated
from waybill.messaging.core.breaker import BreakerState
from waybill.messaging.core.errors import OutcomeUnknownError, TransientError
from waybill.messaging.engines.postgres import PostgresEngine
from waybill.messaging.runtime.loop import Loop
from waybill.platform.stores import POSTGRES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from waybill.messaging.adapters.kafka.group_lag import GroupLag
    from waybill.messaging.core.breaker import Breaker
    from waybill.messaging.core.figures import Figures, Waiting
    from waybill.messaging.core.ports import Database
    from waybill.messaging.core.relay_status import RelayStatus
    from waybill.messaging.engines.port import Engine
    from waybill.messaging.runtime.deliverer import Deliverer
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.platform.metrics import ServiceMetrics
    from waybill.platform.stores import Stores

SAMPLE_SECONDS: Final = 5.0
INSTANCE_SECONDS: Final = 15.0
"""The whole server is looked at so often: it takes a connection of its own."""
LOOK_SECONDS_MAX: Final = 4.0
"""A database that has not answered until then counts as away."""

DOWN_SECONDS: Final = 8.0
"""One look that failed is none: a leader that changes, a lock, a busy machine."""
UP_BY: Final = {"backlog": "database_up", "kafka": "kafka_up"}

logger = logging.getLogger(__name__)


def follow_calls(
    metrics: ServiceMetrics, deliverer: Deliverer, monotonic: Callable[[], float]
) -> None:
    """What keeps these calls within bounds: the breaker, and the budget of their retries."""
    follow_breaker(metrics, deliverer.kind, deliverer.breaker, monotonic)
    budget = deliverer.budget
    metrics.follow("retry_budget_tokens", lambda: budget.tokens(monotonic()), name=deliverer.kind)


def follow_breaker(
    metrics: ServiceMetrics, kind: str, breaker: Breaker, monotonic: Callable[[], float]
) -> None:
    """Its calls, and a gauge a state: 1 for the one that it is in when somebody asks."""

    def is_in(state: BreakerState) -> float:
        return float(breaker.state(monotonic()) is state)

    for state in BreakerState:
        metrics.follow("circuit_breaker_state", partial(is_in, state), name=kind, state=state.value)
    metrics.count_calls(kind, breaker)


@dataclass(frozen=True)
class Hosted:
    """A process by its name, and the table of those that are under way."""

    saga: str
    table: str = "orders"


class Backlog:
    """Gauges of one service's database. What has gone shows 0, it does not keep its last value."""

    def __init__(
        self,
        database: Database,
        metrics: ServiceMetrics,
        *,
        consumers: Iterable[str] = (),
        deliveries: Iterable[str] = (),
        hosts_process: Hosted | None = None,
        storage: Engine | None = None,
        stores: Stores = POSTGRES,
    ) -> None:
        self._storage = storage or PostgresEngine()
        self._stores = stores
        self._database = database
        self._metrics = metrics
        self._hosts = hosts_process
        self._lag: set[tuple[str, str, int]] = set()
        self._readers: set[str] = set()
        self._letters = set(consumers)
        self._kinds = set(deliveries)

    async def look(self) -> None:
        """One look. Raises TransientError while the database is away."""
        found, show = await self._storage.look(self._database), self._metrics.set
        if found.spare_partitions is not None:
            show("outbox_spare_partitions", found.spare_partitions)
        self._show_lag(found)
        if found.mode != "direct":
            self._show_relay(await self._storage.look_at_relay(self._database))
        else:
            show("outbox_pending", found.outbox_pending)
            show("outbox_oldest_pending_age_seconds", found.outbox_oldest_pending_seconds)
        self._letters |= found.dead_letters_open.keys()
        for consumer in self._letters:
            count = found.dead_letters_open.get(consumer, 0)
            show("messaging_dead_letters_open", count, consumer=consumer)
        self._show_deliveries(found.deliveries)
        if self._hosts is not None:
            await self._show_process(self._hosts)

    def _show_lag(self, found: Figures) -> None:
        show = self._metrics.set
        self._lag |= found.lag.keys()
        oldest: dict[tuple[str, str], float] = {}
        for place in self._lag:
            group, topic, lane = place
            labels = {"group": group, "topic": topic, "partition": str(lane)}
            show("kafka_consumergroup_lag", found.lag.get(place, 0), **labels)
            seconds = found.lag_seconds.get(place, 0.0)
            oldest[group, topic] = max(seconds, oldest.get((group, topic), 0.0))
        for (group, topic), seconds in oldest.items():
            show("kafka_consumergroup_lag_seconds", seconds, group=group, topic=topic)
        self._readers |= found.silent_seconds.keys()
        for reader in self._readers:
            seconds = found.silent_seconds.get(reader, 0.0)
            show("outbox_reader_silent_seconds", seconds, consumer=reader)

    def _show_relay(self, found: RelayStatus) -> None:
        """With a relay what is pending is what Kafka does not have yet."""
        show = self._metrics.set
        for name in ("outbox_pending", "outbox_unsent"):
            show(name, found.lag)
        for name in ("outbox_oldest_pending_age_seconds", "outbox_oldest_unsent_age_seconds"):
            show(name, found.oldest_unsent_seconds)
        show("outbox_held", found.held)
        show("outbox_lanes_without_owner", sum(lane.owner is None for lane in found.lanes))

    def _show_deliveries(self, found: Mapping[tuple[str, str], Waiting]) -> None:
        show = self._metrics.set
        self._kinds |= {kind for kind, _ in found}
        for kind in self._kinds:
            pending, parked = found.get((kind, "PENDING")), found.get((kind, "PARKED"))
            show("deliveries_waiting", pending.count if pending else 0, kind=kind, state="pending")
            show("deliveries_waiting", parked.count if parked else 0, kind=kind, state="parked")
            show("deliveries_unknown", pending.unknown if pending else 0, kind=kind)
            age = pending.oldest_seconds if pending else 0.0
            show("deliveries_oldest_pending_age_seconds", age, kind=kind)

    async def _show_process(self, hosted: Hosted) -> None:
        saga, unsettled = hosted.saga, self._stores.unsettled.format(hosted.table)
        async with self._database.transaction() as transaction:
            await transaction.fetch(self._stores.before_unsettled)
            ((count, oldest),) = [
                (row[0], float(row[1])) for row in await transaction.fetch(unsettled)
            ]
        self._metrics.set("saga_active", count, saga=saga)
        self._metrics.set("saga_oldest_active_age_seconds", max(0.0, oldest), saga=saga)


class Instance:
    """Gauges of the whole PostgreSQL server, seen by the schema's owner."""

    def __init__(self, owner_url: str, metrics: ServiceMetrics) -> None:
        self._url = owner_url
        self._metrics = metrics

    async def look(self) -> None:
        """One look by a connection of its own. Raises TransientError while it is away."""
        with translated():
            settings = {"application_name": "waybill figures"}
            connection = await asyncpg.connect(self._url, server_settings=settings)
            try:
                found = await instance.look(connection)
            finally:
                await connection.close(timeout=1)
        show = self._metrics.set
        show("postgres_oldest_transaction_age_seconds", found.oldest_transaction_seconds)
        show("postgres_oldest_xmin_age_transactions", found.oldest_xmin_transactions)
        show("postgres_prepared_transactions", found.prepared_transactions)


class GroupBacklog:
    """Gauges of how far one consumer is behind on Kafka."""

    def __init__(self, lag: GroupLag, metrics: ServiceMetrics, group: str) -> None:
        self._lag = lag
        self._metrics = metrics
        self._group = group

    async def look(self) -> None:
        """One look. Raises TransientError while the brokers are away."""
        show, oldest = self._metrics.set, dict[str, float]()
        for (topic, partition), behind in (await self._lag.look()).items():
            labels = {"group": self._group, "topic": topic, "partition": str(partition)}
            show("kafka_consumergroup_lag", behind.records, **labels)
            oldest[topic] = max(behind.seconds, oldest.get(topic, 0.0))
        for topic, seconds in oldest.items():
            show("kafka_consumergroup_lag_seconds", seconds, group=self._group, topic=topic)


class Sampler(Loop):
    """Takes every look in its turn; one that fails leaves the others as they are.

    `looks` are by name: the seconds between two of them, and what to call. Two of them say by the
    way whether something answers: UP_BY.
    """

    def __init__(
        self,
        looks: Mapping[str, tuple[float, Callable[[], Awaitable[None]]]],
        metrics: ServiceMetrics,
        ports: ServicePorts,
    ) -> None:
        super().__init__("figures", ports.clock, ports.observer)
        self._looks = looks
        self._metrics = metrics
        self._looked_at = dict.fromkeys(looks, self._clock.monotonic())
        self._next = dict.fromkeys(looks, 0.0)
        for name in looks:
            metrics.follow("figures_age_seconds", partial(self._age, name), look=name)

    async def work(self) -> None:
        """Look until `stop`."""
        while True:
            for name, (seconds, take) in self._looks.items():
                if self._clock.monotonic() >= self._next[name]:
                    await self.idle(self._take(name, take))
                    self._next[name] = self._clock.monotonic() + seconds
            self.progressed()
            pause = min(self._next.values()) - self._clock.monotonic()
            await self.idle(self._clock.sleep(max(0.0, pause)))

    async def _take(self, name: str, take: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS_MAX):
                await take()
        except (TransientError, OutcomeUnknownError, TimeoutError) as error:
            logger.debug("%s: not looked at: %s", name, error)
        else:
            self._looked_at[name] = self._clock.monotonic()
        if name in UP_BY:
            self._metrics.set(UP_BY[name], self._age(name) < DOWN_SECONDS)

    def _age(self, name: str) -> float:
        return self._clock.monotonic() - self._looked_at[name]

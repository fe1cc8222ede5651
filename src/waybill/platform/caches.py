"""The cache in front of one service's database, where REDIS_* names one; else nothing at all.

Losing it costs latency only: no answer, no effect and no health depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.caching.cache import WriteBehind
from waybill.commerce.caching.dedupe import DedupeCache
from waybill.commerce.caching.idempotency import IdempotencyCache
from waybill.commerce.caching.own import OwnCache
from waybill.commerce.inventory.remembered import RememberedProducts
from waybill.commerce.orders.remembered import RememberedIntake
from waybill.platform.extras import REDIS, extra
from waybill.platform.http.health import Component

if TYPE_CHECKING:
    from waybill.commerce.caching.redis_cache import RedisCache
    from waybill.commerce.caching.settings import RedisSettings
    from waybill.commerce.inventory.api import Products
    from waybill.commerce.orders.api import Intake
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.messaging.runtime.unit import Handler
    from waybill.messaging.service import MessagingService
    from waybill.platform.http.health import Check
    from waybill.platform.metrics import ServiceMetrics


class Caches:
    """What stands before a service's database. This one is empty: everything passes as it is."""

    def intake(self, intake: Intake) -> Intake:
        """The intake, answering what was answered before (`idem:`)."""
        return intake

    def products(self, products: Products) -> Products:
        """The catalogue, read once in a while (`product:`)."""
        return products

    def remembering(self, consumer: str, handle: Handler) -> Handler:  # noqa: ARG002 - of RedisCaches
        """The handler, telling which events it applied (`dedupe:`)."""
        return handle

    @property
    def checks(self) -> dict[str, Check]:
        """For health: shown, never red."""
        return {}

    async def close(self) -> None:
        """Close its connections."""


class RedisCaches(Caches):
    """In Redis. `lineage` says whose data they are."""

    def __init__(
        self, redis: RedisCache, writes: WriteBehind, ports: ServicePorts, lineage: str
    ) -> None:
        self._redis = redis
        self._cache = OwnCache(redis, lineage)
        self._writes = writes
        self._random = ports.random

    def intake(self, intake: Intake) -> Intake:
        """See Caches."""
        return RememberedIntake(intake, IdempotencyCache(self._cache, self._writes))

    def products(self, products: Products) -> Products:
        """See Caches."""
        return RememberedProducts(products, self._cache, self._random)

    def remembering(self, consumer: str, handle: Handler) -> Handler:
        """See Caches."""
        return DedupeCache(self._writes, consumer=consumer).remembering(handle)

    @property
    def checks(self) -> dict[str, Check]:
        """See Caches."""

        async def cache() -> Component:
            state = "answers" if await self._redis.answers() else "away: the database answers"
            return Component("UP", {"state": state})

        return {"cache": cache}

    async def close(self) -> None:
        """See Caches."""
        await self._redis.close()


NO_CACHES = Caches()


async def caches_of(
    settings: RedisSettings | None, messaging: MessagingService, metrics: ServiceMetrics
) -> Caches:
    """The caches of a connected service; its loop writes them from the start on."""
    if settings is None:
        return NO_CACHES
    with extra("redis", REDIS):
        from waybill.commerce.caching.redis_cache import RedisCache  # noqa: PLC0415 - an extra
    ports = messaging.ports
    whose = await messaging.storage.lineage(ports.database)
    redis = RedisCache(settings, clock=ports.clock, random=ports.random)
    writes = WriteBehind(OwnCache(redis, whose), clock=ports.clock, observer=ports.observer)
    messaging.add(writes)
    metrics.follow_cache(redis, writes)
    return RedisCaches(redis, writes, ports, whose)

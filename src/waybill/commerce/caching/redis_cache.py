"""A cache in Redis: within its time, behind a breaker, never an error of the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.caching.redis_link import BREAKER, RedisLink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.commerce.caching.settings import RedisSettings
    from waybill.messaging.core.breaker import Breaker, BreakerPolicy
    from waybill.messaging.runtime.clock import Clock


class RedisCache:
    """A `Cache`. `close` it at the end."""

    def __init__(
        self,
        settings: RedisSettings,
        *,
        clock: Clock,
        random: Callable[[], float],
        breaker: BreakerPolicy = BREAKER,
    ) -> None:
        self._settings = settings
        self._link = RedisLink(settings, clock=clock, random=random, breaker=breaker)
        self._hits = 0
        self._misses = 0

    @property
    def breaker(self) -> Breaker:
        """Closed while Redis answers."""
        return self._link.breaker

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of what was asked."""
        link = self._link
        return {
            "hit": self._hits,
            "miss": self._misses,
            "failed": link.failed,
            "skipped": link.skipped,
        }

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was last asked; if not, the database answers everything."""
        return self._link.is_up

    async def answers(self) -> bool:
        """Ask it. Within its time, like all else."""
        return await self._link.answers()

    async def close(self) -> None:
        """Close every connection."""
        await self._link.close()

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """See Cache."""
        if not keys:
            return {}
        names = [self._settings.prefix + key for key in keys]
        values = await self._link.do(lambda: self._link.redis.mget(names))
        found = zip(keys, values or (), strict=False)
        hits = {key: value for key, value in found if isinstance(value, bytes)}
        self._hits += len(hits)
        self._misses += len(keys) - len(hits)
        return hits

    async def put(self, entries: Mapping[str, bytes], *, seconds: float) -> None:
        """See Cache. What is larger than `value_bytes_max` is not kept."""
        limit = self._settings.value_bytes_max
        small = {key: value for key, value in entries.items() if len(value) <= limit}
        if not small:
            return
        milliseconds = max(1, int(seconds * 1000))

        async def write() -> object:
            async with self._link.redis.pipeline(transaction=False) as pipeline:
                for key, value in small.items():
                    pipeline.set(self._settings.prefix + key, value, px=milliseconds)
                return await pipeline.execute(raise_on_error=True)

        await self._link.do(write)

    async def drop(self, keys: Sequence[str]) -> None:
        """See Cache."""
        if keys:
            names = [self._settings.prefix + key for key in keys]
            await self._link.do(lambda: self._link.redis.delete(*names))

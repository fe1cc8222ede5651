"""A cache in Redis: within its time, behind a breaker, never an error of the caller's.

A Redis that is gone costs a few short time-outs until the breaker opens, then nothing; one that
hangs the same. When it is back, the next probe finds it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from waybill.messaging.core.breaker import Breaker, BreakerPolicy, BreakerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from waybill.commerce.caching.settings import RedisSettings
    from waybill.messaging.runtime.clock import Clock

Result = TypeVar("Result")

BREAKER = BreakerPolicy(calls_min=5, slow_seconds=0.1, open_seconds=2.0, half_open_calls=1)
logger = logging.getLogger(__name__)


class RedisCache:
    """A `Cache`. `close` it at the end. `counts` says what became of what was asked."""

    def __init__(
        self,
        settings: RedisSettings,
        *,
        clock: Clock,
        random: Callable[[], float],
        breaker: BreakerPolicy = BREAKER,
    ) -> None:
        self.counts = dict.fromkeys(("hit", "miss", "failed", "skipped"), 0)
        self.breaker = Breaker(breaker, random)
        self._settings = settings
        self._clock = clock
        self._running = 0
        # No retries of its own and no waiting: the database answers meanwhile.
        self._redis: Redis = Redis.from_url(
            settings.url,
            socket_timeout=settings.timeout_seconds,
            socket_connect_timeout=settings.timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            max_connections=settings.commands_max,
        )

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was last asked; if not, the database answers everything."""
        return self.breaker.state(self._clock.monotonic()) is BreakerState.CLOSED

    async def answers(self) -> bool:
        """Ask it. Within its time, like all else."""
        return bool(await self._do(self._redis.ping))

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """See Cache."""
        if not keys:
            return {}
        names = [self._settings.prefix + key for key in keys]
        values = await self._do(lambda: self._redis.mget(names))
        found = zip(keys, values or (), strict=False)
        hits = {key: value for key, value in found if isinstance(value, bytes)}
        self.counts["hit"] += len(hits)
        self.counts["miss"] += len(keys) - len(hits)
        return hits

    async def put(self, entries: Mapping[str, bytes], *, seconds: float) -> None:
        """See Cache. What is larger than `value_bytes_max` is not kept."""
        limit = self._settings.value_bytes_max
        small = {key: value for key, value in entries.items() if len(value) <= limit}
        if not small:
            return
        milliseconds = max(1, int(seconds * 1000))

        async def write() -> object:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, value in small.items():
                    pipeline.set(self._settings.prefix + key, value, px=milliseconds)
                return await pipeline.execute(raise_on_error=True)

        await self._do(write)

    async def drop(self, keys: Sequence[str]) -> None:
        """See Cache."""
        if keys:
            names = [self._settings.prefix + key for key in keys]
            await self._do(lambda: self._redis.delete(*names))

    async def _do(self, command: Callable[[], Awaitable[Result]]) -> Result | None:
        """One command through the breaker; None if it did not come to an answer."""
        start = self._clock.monotonic()
        full = self._running >= self._settings.commands_max
        permit = None if full else self.breaker.permit(start)
        if permit is None:
            self.counts["skipped"] += 1
            return None
        self._running += 1
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                result = await command()
        except (RedisError, OSError, TimeoutError) as error:
            self.counts["failed"] += 1
            now = self._clock.monotonic()
            if self.breaker.state(now) is BreakerState.CLOSED:
                logger.warning("cache: %s; the database answers", type(error).__name__)
            self.breaker.record(permit, now, failed=True, seconds=now - start)
            return None
        except BaseException:
            self.breaker.release(permit, self._clock.monotonic())
            raise
        finally:
            self._running -= 1
        now = self._clock.monotonic()
        self.breaker.record(permit, now, failed=False, seconds=now - start)
        return result

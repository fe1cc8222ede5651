"""One Redis, asked within a time and behind a breaker: never an error of the caller's.

A Redis that is gone costs a few short time-outs until the breaker opens, then nothing; one that
hangs the same. When it is back, the next probe finds it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from waybill.messaging.core.breaker import Breaker, BreakerPolicy, BreakerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.commerce.caching.settings import RedisSettings
    from waybill.messaging.runtime.clock import Clock

    Script = Callable[[Sequence[str], Sequence[int | str]], Awaitable[Any]]
    """Keys and arguments in; what the script returned."""

Result = TypeVar("Result")

BREAKER = BreakerPolicy(calls_min=5, slow_seconds=0.1, open_seconds=2.0, half_open_calls=1)
logger = logging.getLogger(__name__)


def redis_client(url: str, timeout_seconds: float, *, connections_max: int | None = None) -> Redis:
    """A client that neither tries again by itself nor waits: whoever asks goes on without it."""
    client: Redis = Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        max_connections=connections_max,
    )
    return client


class RedisLink:
    """`close` it at the end. `instead` says in the log what happens without it."""

    def __init__(
        self,
        settings: RedisSettings,
        *,
        clock: Clock,
        random: Callable[[], float],
        breaker: BreakerPolicy = BREAKER,
        instead: str = "cache: the database answers",
    ) -> None:
        self.breaker = Breaker(breaker, random)
        self.prefix = settings.prefix
        self.failed = 0
        self.skipped = 0
        self._settings = settings
        self._clock = clock
        self._instead = instead
        self._running = 0
        self.redis = redis_client(
            settings.url, settings.timeout_seconds, connections_max=settings.commands_max
        )

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was last asked."""
        return self.breaker.state(self._clock.monotonic()) is BreakerState.CLOSED

    async def answers(self) -> bool:
        """Ask it. Within its time, like all else."""
        return bool(await self.do(self.redis.ping))

    def script(self, source: str) -> Script:
        """A script that runs as one command; Redis is given its text when it does not know it."""
        registered = self.redis.register_script(source)

        async def run(keys: Sequence[str], arguments: Sequence[int | str]) -> Any:  # noqa: ANN401 - Redis' own
            return await registered(keys=keys, args=arguments)

        return run

    async def close(self) -> None:
        """Close every connection."""
        await self.redis.aclose()

    async def do(self, command: Callable[[], Awaitable[Result]]) -> Result | None:
        """One command through the breaker; None if it did not come to an answer."""
        start = self._clock.monotonic()
        full = self._running >= self._settings.commands_max
        permit = None if full else self.breaker.permit(start)
        if permit is None:
            self.skipped += 1
            return None
        self._running += 1
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                result = await command()
        except (RedisError, OSError, TimeoutError) as error:
            self.failed += 1
            now = self._clock.monotonic()
            if self.breaker.state(now) is BreakerState.CLOSED:
                logger.warning("%s (%s)", self._instead, type(error).__name__)
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

"""Where the edge counts calls and attempts: in Redis where REDIS_* names one, else in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from waybill.edge.limits.memory import MemoryLimits
from waybill.platform.extras import REDIS, extra
from waybill.platform.http.health import Component

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.commerce.caching.redis_link import RedisLink
    from waybill.commerce.caching.settings import RedisSettings
    from waybill.edge.limits.ports import Limits
    from waybill.messaging.runtime.clock import Clock
    from waybill.platform.http.health import Check


@dataclass(frozen=True)
class EdgeLimits:
    """`close` it at the end."""

    limits: Limits
    link: RedisLink | None = None

    @property
    def checks(self) -> dict[str, Check]:
        """For health: shown, never red, since each process counts by itself meanwhile."""
        link = self.link
        if link is None:
            return {}

        async def limits() -> Component:
            state = "shared" if await link.answers() else "Redis is away: each process counts"
            return Component("UP", {"state": state})

        return {"limits": limits}

    async def close(self) -> None:
        """Close its connections."""
        if self.link is not None:
            await self.link.close()


def edge_limits(
    settings: RedisSettings | None, *, clock: Clock, random: Callable[[], float]
) -> EdgeLimits:
    """Raises ConfigurationError if Redis is asked for and its client is missing."""
    if settings is None:
        return EdgeLimits(MemoryLimits(monotonic=clock.monotonic))
    with extra("redis", REDIS):
        from waybill.commerce.caching.redis_link import RedisLink  # noqa: PLC0415 - an extra
        from waybill.edge.limits.shared import SharedLimits  # noqa: PLC0415 - an extra
    link = RedisLink(
        settings, clock=clock, random=random, instead="limits: each process counts for itself"
    )
    return EdgeLimits(SharedLimits(link, monotonic=clock.monotonic), link)

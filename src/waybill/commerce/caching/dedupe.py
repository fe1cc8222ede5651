"""`dedupe:<eventId>`: a hint that an event was applied, written after the commit that applied it.

A hit lets nothing pass: the claim in the inbox decides, in the transaction of the effects
(protocol C13). So a lost, old or invented entry changes no effect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from waybill.messaging.core.unit import Received, UnitOfWork

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.commerce.caching.cache import Cache, WriteBehind

DAY_SECONDS: Final = 86_400.0
"""Of an entry. Several services on one Redis keep apart by RedisSettings.prefix."""

Handle = Callable[[UnitOfWork, Sequence[Received]], Awaitable[None]]


class DedupeCache:
    """Which events a consumer has applied, as far as the cache knows."""

    def __init__(
        self,
        cache: Cache,
        writes: WriteBehind,
        *,
        consumer: str,
        lifetime_seconds: float = DAY_SECONDS,
    ) -> None:
        self._cache = cache
        self._writes = writes
        self._consumer = consumer.encode()
        self._lifetime_seconds = lifetime_seconds

    async def seen(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those that were probably applied here: skip what only prepares, claim all the same."""
        names = {f"dedupe:{each}": each for each in ids}
        found = await self._cache.get(list(names))
        return {names[name] for name, by in found.items() if by == self._consumer}

    def remember(self, ids: Sequence[UUID]) -> None:
        """Call it after the commit that applied them."""
        for each in ids:
            self._writes.later(f"dedupe:{each}", self._consumer, seconds=self._lifetime_seconds)

    def remembering(self, handle: Handle) -> Handle:
        """The handler, with what it applied remembered after its commit."""

        async def remembered(unit: UnitOfWork, received: Sequence[Received]) -> None:
            await handle(unit, received)
            ids = [item.message.id for item in received]
            unit.on_commit(lambda: self.remember(ids))

        return remembered

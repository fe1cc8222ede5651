"""Requests that wait in this process for what another task commits. A hint, never the truth.

Whoever waited in vain, or has nothing to wait for, looks at the database.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waybill.messaging.runtime.clock import Clock

KEYS_MAX = 10_000
"""Beyond that the oldest is forgotten: nobody came to wait for it."""


class Waiting:
    """By key: `expect` before the commit that begins it, `tell` after the one that ends it."""

    def __init__(self, clock: Clock, *, keys_max: int = KEYS_MAX) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._ends: dict[str, asyncio.Event] = {}
        self._waiters: dict[asyncio.Event, int] = {}

    def expect(self, key: str) -> None:
        """Somebody may come to wait for it."""
        self._ends.setdefault(key, asyncio.Event())
        if len(self._ends) > self._keys_max:
            del self._ends[next(iter(self._ends))]

    def tell(self, keys: Iterable[str]) -> None:
        """These have ended. Who waits goes on, and who comes late does not wait."""
        for key in keys:
            end = self._ends.get(key)
            if end is not None:
                end.set()

    async def until_told(self, key: str, seconds: float) -> bool:
        """Wait at most so long; False at once for what is not expected here (any more).

        Many may wait for one key; whoever leaves early takes nothing from the others.
        """
        end = self._ends.get(key)
        if end is None:
            return False
        self._waiters[end] = self._waiters.get(end, 0) + 1
        try:
            return await self._clock.wait(end, seconds)
        finally:
            self._leave(key, end)

    def _leave(self, key: str, end: asyncio.Event) -> None:
        self._waiters[end] -= 1
        if self._waiters[end] == 0:
            del self._waiters[end]
            if self._ends.get(key) is end:
                del self._ends[key]

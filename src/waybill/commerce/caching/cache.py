"""The port of caches, and what is written to one after a commit, without anybody waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from waybill.messaging.runtime.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from waybill.messaging.core.ports import Observer
    from waybill.messaging.runtime.clock import Clock

LATER_MAX = 10_000
"""Entries that may wait to be written; more are dropped, which costs a later hit."""

WRITE_SIZE_MAX = 500


class Cache(Protocol):
    """Bytes by key. Nothing raises: what cannot be reached now is a miss, or is not written."""

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Those that are there. Bounded in time; a miss says nothing about the database."""

    async def put(self, entries: Mapping[str, bytes], *, seconds: float) -> None:
        """Keep these for so long. Returning does not mean that they are kept."""

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget these. Returning does not mean that they are forgotten: give a lifetime, too."""


class WriteBehind(Loop):
    """Writes to a cache what `later` was told, in the background. Run it with the service."""

    def __init__(self, cache: Cache, *, clock: Clock, observer: Observer) -> None:
        super().__init__("cache writes", clock, observer)
        self.dropped = 0
        """Entries that were not written because too many waited."""
        self._cache = cache
        self._waiting: deque[tuple[str, bytes, float]] = deque()
        self._some = asyncio.Event()

    def later(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keep this soon. Does not block: to be called from `on_commit`, never before (C13)."""
        if len(self._waiting) >= LATER_MAX:
            self.dropped += 1
            return
        self._waiting.append((key, value, seconds))
        self._some.set()

    @property
    def waits_on_purpose(self) -> bool:
        """See Loop."""
        return not self._waiting

    async def work(self) -> None:
        """See Loop."""
        while True:
            await self.idle(self._some.wait())
            self._some.clear()
            while self._waiting:
                size = min(len(self._waiting), WRITE_SIZE_MAX)
                by_lifetime: dict[float, dict[str, bytes]] = {}
                for key, value, seconds in (self._waiting.popleft() for _ in range(size)):
                    by_lifetime.setdefault(seconds, {})[key] = value
                for seconds, entries in by_lifetime.items():
                    await self._cache.put(entries, seconds=seconds)
                self.progressed()

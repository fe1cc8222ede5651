"""The product catalogue through a cache: read once, by one reader at a time, for a short while.

What it shows may be as old as the entry's lifetime, so nothing is decided by it: stock and prices
are decided over locked rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from waybill.commerce.caching.cache import Cache

LIFETIME_SECONDS: Final = 30.0
JITTER: Final = 0.2
"""Lifetimes differ by up to so much, so that entries made together do not end together."""

Load = Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]
"""Reads these products from the database, encoded; unknown ones are left out. May raise."""


class CatalogueCache:
    """Products by id. What the cache lacks is loaded, once however many ask at the same time."""

    def __init__(
        self,
        cache: Cache,
        load: Load,
        *,
        random: Callable[[], float],
        prefix: str = "product:",
        lifetime_seconds: float = LIFETIME_SECONDS,
    ) -> None:
        self._cache = cache
        self._load = load
        self._random = random
        self._prefix = prefix
        self._lifetime_seconds = lifetime_seconds
        self._loading: dict[str, asyncio.Task[Mapping[str, bytes]]] = {}

    async def products(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """Those that exist, encoded. Raises what `load` raises, and nothing of the cache's."""
        names = {self._prefix + each: each for each in ids}
        cached = await self._cache.get(list(names))
        found = {names[name]: value for name, value in cached.items()}
        missing = [each for each in ids if each not in found]
        if not missing:
            return found
        new = [each for each in missing if each not in self._loading]
        if new:
            self._begin(new)
        tasks = {self._loading[each] for each in missing if each in self._loading}
        for task in tasks:
            # One reader that goes away must not end the others' load.
            loaded = await asyncio.shield(task)
            found |= {each: loaded[each] for each in missing if each in loaded}
        return found

    async def changed(self, ids: Sequence[str]) -> None:
        """Forget these, after the commit that changed them. A hint: the lifetime stands behind."""
        await self._cache.drop([self._prefix + each for each in ids])

    def _begin(self, ids: Sequence[str]) -> None:
        task = asyncio.create_task(self._loaded(ids))
        self._loading |= dict.fromkeys(ids, task)

        def ended(_: asyncio.Task[Mapping[str, bytes]]) -> None:
            for each in ids:
                self._loading.pop(each, None)
            if not task.cancelled():
                task.exception()  # whoever waits raises it; nobody may be left to do so

        task.add_done_callback(ended)

    async def _loaded(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        loaded = await self._load(ids)
        seconds = self._lifetime_seconds * (1 - JITTER * self._random())
        await self._cache.put(
            {self._prefix + each: value for each, value in loaded.items()}, seconds=seconds
        )
        return loaded

"""A cache that knows whose data it holds: what another database wrote there is a miss.

A cache outlives the database that it stands before: data that were dropped, restored or made anew
would else be answered out of it, and two platforms on one Redis would answer for each other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from waybill.commerce.caching.cache import Cache

_MARK_BYTES: Final = 8


class OwnCache:
    """A `Cache`. `lineage` changes whenever the database is another one than before."""

    def __init__(self, cache: Cache, lineage: str) -> None:
        self._cache = cache
        self._mark = hashlib.sha256(lineage.encode()).digest()[:_MARK_BYTES]

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """See Cache."""
        found = await self._cache.get(keys)
        return {
            key: value[_MARK_BYTES:]
            for key, value in found.items()
            if value[:_MARK_BYTES] == self._mark
        }

    async def put(self, entries: Mapping[str, bytes], *, seconds: float) -> None:
        """See Cache."""
        marked = {key: self._mark + value for key, value in entries.items()}
        await self._cache.put(marked, seconds=seconds)

    async def drop(self, keys: Sequence[str]) -> None:
        """See Cache."""
        await self._cache.drop(keys)

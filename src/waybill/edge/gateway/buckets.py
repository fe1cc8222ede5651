"""Token buckets by key, in memory and bounded: how often a subject or an address may call.

No library: those that were looked at keep every key for ever, or walk all of them at every call.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Quota:
    """`count` at once, and as many again in every `window_seconds`."""

    name: str
    count: int
    window_seconds: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.window_seconds < 1:
            raise ConfigurationError(f"quota {self.name}: count and window must be at least 1")

    @property
    def policy(self) -> str:
        """As RateLimit-Policy says it (draft-ietf-httpapi-ratelimit-headers-10)."""
        return f'"{self.name}";q={self.count};w={self.window_seconds}'


class Taken(NamedTuple):
    """What one call left. `wait_seconds` is 0 if it was allowed."""

    quota: Quota
    remaining: int
    full_seconds: int
    wait_seconds: float

    @property
    def limit(self) -> str:
        """As RateLimit says it."""
        return f'"{self.quota.name}";r={self.remaining};t={self.full_seconds}'


class Buckets:
    """One quota's. The key that was quiet longest makes room for a new one."""

    def __init__(
        self, quota: Quota, *, monotonic: Callable[[], float], keys_max: int = 100_000
    ) -> None:
        self._quota = quota
        self._rate = quota.count / quota.window_seconds
        self._monotonic = monotonic
        self._keys_max = keys_max
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> Taken:
        """One call of this key; a refused one takes nothing."""
        now, count = self._monotonic(), self._quota.count
        level, at = self._levels.get(key, (float(count), now))
        level = min(count, level + (now - at) * self._rate)
        allowed = level >= 1
        if allowed:
            level -= 1
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)
        full = math.ceil((count - level) / self._rate)
        return Taken(self._quota, int(level), full, 0.0 if allowed else (1 - level) / self._rate)

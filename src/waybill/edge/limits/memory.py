"""Calls and attempts by key in this process' memory, bounded: each process counts for itself.

No library: those that were looked at keep every key for ever, or walk all of them at every call.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from waybill.edge.limits.ports import Taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.edge.limits.ports import AttemptLimit, Quota


class MemoryBuckets:
    """`Buckets`. The key that was quiet longest makes room for a new one."""

    def __init__(
        self, quota: Quota, *, monotonic: Callable[[], float], keys_max: int = 100_000
    ) -> None:
        self._quota = quota
        self._monotonic = monotonic
        self._keys_max = keys_max
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def take(self, key: str) -> Taken:
        """See Buckets."""
        quota, now = self._quota, self._monotonic()
        level, at = self._levels.get(key, (float(quota.count), now))
        level = min(quota.count, level + (now - at) * quota.rate)
        allowed = level >= 1
        if allowed:
            level -= 1
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)
        return Taken.at(quota, level, allowed=allowed)


class MemoryAttempts:
    """`Attempts`: a log of their times."""

    def __init__(self, limit: AttemptLimit, *, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    async def take(self, key: str) -> float:
        """See Attempts."""
        now = self._monotonic()
        times = self._times.setdefault(key, deque())
        self._times.move_to_end(key)
        while times and times[0] <= now - self._limit.window_seconds:
            times.popleft()
        if len(times) >= self._limit.attempts_max:
            return times[0] + self._limit.window_seconds - now
        times.append(now)
        if len(self._times) > self._limit.keys_max:
            self._times.popitem(last=False)
        return 0.0

    async def forget(self, key: str) -> None:
        """See Attempts."""
        self._times.pop(key, None)


class MemoryLimits:
    """`Limits` of one process."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic

    def buckets(self, quota: Quota) -> MemoryBuckets:
        """See Limits."""
        return MemoryBuckets(quota, monotonic=self._monotonic)

    def attempts(self, limit: AttemptLimit) -> MemoryAttempts:
        """See Limits."""
        return MemoryAttempts(limit, monotonic=self._monotonic)

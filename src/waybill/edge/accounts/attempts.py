"""Attempts by a key (an account, an address) within a sliding window: a log of their times."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class AttemptLimit:
    """So many within so long; of so many keys at once, the longest quiet ones are forgotten."""

    attempts_max: int
    window_seconds: float
    keys_max: int = 50_000


class Attempts:
    """In this process' memory: every process of a service counts for itself."""

    def __init__(self, limit: AttemptLimit, *, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Count one; 0 if it is allowed, else the seconds until one will be (it is not counted)."""
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

    def forget(self, key: str) -> None:
        """It succeeded: what came before does not count against it."""
        self._times.pop(key, None)

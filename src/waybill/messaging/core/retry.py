"""Backoff as data. Full jitter; caps add up, so none exceeds ten seconds by default (L5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with full jitter: `random() * min(cap, base * factor ** attempt)`."""

    base_seconds: float = 0.1
    factor: float = 2.0
    cap_seconds: float = 10.0

    def delay_seconds(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait before try `attempt + 1` (`attempt` from 0); `random` is in [0, 1)."""
        ceiling = min(self.cap_seconds, self.base_seconds * self.factor ** min(attempt, 60))
        return random() * ceiling

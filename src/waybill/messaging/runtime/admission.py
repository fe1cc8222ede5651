"""Admission: refuse at the door what would wait too long, before anything is parsed.

The wait is what is left of the flush in flight, and the full flushes queued before one's own.
An empty queue always admits: recovery after a slow flush needs nobody's help (promises, P10).
"""

from __future__ import annotations

WEIGHT_OF_THE_LAST = 0.2
"""Of the moving average of a flush's time."""


class WaitEstimate:
    """Estimates the wait for a flush from those before it. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._average = 0.0
        self._began: float | None = None

    def flush_began(self, now: float) -> None:
        """A flush is in flight from now on."""
        self._began = now

    def flush_ended(self, now: float) -> None:
        """It ended, well or not."""
        if self._began is None:
            return
        took = now - self._began
        self._began = None
        known = self._average or took
        self._average = known + WEIGHT_OF_THE_LAST * (took - known)

    def seconds(self, now: float, *, queued: int, batch_max: int) -> float:
        """How long a request that comes now waits until its own flush begins.

        A flush that takes longer than usual is taken to last as long again as it has lasted.
        """
        left = 0.0
        if self._began is not None:
            elapsed = now - self._began
            left = self._average - elapsed if elapsed < self._average else elapsed
        return left + (queued // batch_max) * self._average

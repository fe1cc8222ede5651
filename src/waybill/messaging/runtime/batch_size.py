"""How many messages make about so many milliseconds of work.

The time of a batch is a fixed part (round trips, the commit's fsync) and a part a message. Only
the second is a reason for smaller batches: dividing the whole time by the messages would shrink
the batches of a slow disk until nothing gets through. So both parts are fitted, by a line
through recent batches in which old ones fade.
"""

from __future__ import annotations

FADE = 0.9
"""Weight that a batch keeps when the next one comes: about the last ten count."""

SPREAD_MIN = 0.01
"""Relative variance of the sizes below which no line is fitted: all batches are alike."""

STALL_FACTOR = 20
"""A batch is taken to have lasted at most so many budgets: more is a stall, not work."""

PROBE_UP_BELOW = 8
"""Sizes at which a slow batch is a reason to try a larger one: the fixed part may rule."""


class BatchSizer:
    """Fits `seconds = fixed + each * messages` and says how many messages the budget holds."""

    def __init__(self, size_max: int, work_seconds_max: float) -> None:
        self._size_max = size_max
        self._work_seconds_max = work_seconds_max
        self._weight = self._n = self._t = self._nn = self._nt = 0.0
        self.size = size_max

    def observe(self, messages: int, seconds: float) -> None:
        """A batch of so many messages took so long."""
        seconds = min(seconds, STALL_FACTOR * self._work_seconds_max)
        self._weight = self._weight * FADE + 1
        self._n = self._n * FADE + messages
        self._t = self._t * FADE + seconds
        self._nn = self._nn * FADE + messages * messages
        self._nt = self._nt * FADE + messages * seconds
        mean = self._n / self._weight
        variance = self._nn / self._weight - mean * mean
        if variance <= SPREAD_MIN * mean * mean:
            self._without_a_line(messages, seconds)
            return
        covariance = self._nt / self._weight - mean * self._t / self._weight
        each = covariance / variance
        fits = self._work_seconds_max / each if each > 0 else self._size_max
        self.size = max(1, min(self._size_max, int(fits), self.size * 2))

    def _without_a_line(self, messages: int, seconds: float) -> None:
        """All alike: another size is tried, so that the next fit can tell the two parts apart."""
        if messages < self.size:
            return
        if seconds > self._work_seconds_max and self.size > PROBE_UP_BELOW:
            self.size //= 2
        else:
            self.size = min(self._size_max, self.size * 2)

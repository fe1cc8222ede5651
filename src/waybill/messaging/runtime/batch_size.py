"""How many messages make about so many milliseconds of work.

The time of a batch is a fixed part (round trips, the commit's fsync) and a part a message. Only
the second is a reason for smaller batches: dividing the whole time by the messages would shrink
the batches of a slow disk until nothing gets through. So both parts are fitted, by a line
through recent batches in which old ones fade. A busy event loop makes the fixed part long and
uneven, so that the line counts only if the sizes explain most of the times: without that
evidence batches grow.

A batch with a message that cannot be applied is decided about twice: the larger the batches, the
more is decided in vain. So they are kept small enough that few of them have one.
"""

from __future__ import annotations

FADE = 0.9
"""Weight that a batch keeps when the next one comes: about the last ten count."""

SPREAD_MIN = 0.01
"""Relative variance of the sizes below which no line is fitted: all batches are alike."""

EXPLAINED_SHARE_MIN = 0.5
"""Of the times' variance (r squared): of ten batches of mere noise one in 100 shows as much."""

STALL_FACTOR = 250
"""A batch that lasted more budgets is halved without a look at its line: it may be a stall."""

PROBE_UP_BELOW = 8
"""Sizes at which a slow batch is a reason to try a larger one: the fixed part may rule."""

FAILING_SHARE = 0.25
"""Of the batches, at most: with that, a quarter of the messages or less is decided twice."""

FAILING_SIZE_MIN = 50
"""No batch is made smaller for its failures: in smaller ones a bad deployment hides (C10)."""

FAILURES_FADE = 0.8
"""Weight that a failure keeps when the next one comes: about the last five count."""


class BatchSizer:
    """Fits `seconds = fixed + each * messages` and says how many messages the budget holds."""

    def __init__(self, size_max: int, work_seconds_max: float) -> None:
        self._size_max = size_max
        self._work_seconds_max = work_seconds_max
        self._weight = self._n = self._t = self._nn = self._nt = self._tt = 0.0
        self._failures = self._between = 0.0
        """Failed batches, and the messages that came since the first of them; both fade."""
        self._fitting = size_max

    @property
    def size(self) -> int:
        """How many messages the next batch may have."""
        if not self._failures:
            return self._fitting
        few = int(FAILING_SHARE * self._between / self._failures)
        return min(self._fitting, max(FAILING_SIZE_MIN, few))

    def failed(self, messages: int) -> None:
        """A batch of so many messages had one that could not be applied and had to be found."""
        self._failures = self._failures * FAILURES_FADE + 1
        self._between = self._between * FAILURES_FADE + messages

    def observe(self, messages: int, seconds: float) -> None:
        """A batch of so many messages took so long."""
        self._between += messages
        if seconds > STALL_FACTOR * self._work_seconds_max:
            self._fitting = max(1, self._fitting // 2)
            return
        self._weight = self._weight * FADE + 1
        self._n = self._n * FADE + messages
        self._t = self._t * FADE + seconds
        self._nn = self._nn * FADE + messages * messages
        self._nt = self._nt * FADE + messages * seconds
        self._tt = self._tt * FADE + seconds * seconds
        mean = self._n / self._weight
        variance = self._nn / self._weight - mean * mean
        if variance <= SPREAD_MIN * mean * mean:
            self._without_a_line(messages, seconds)
        else:
            self._by_the_line(mean, variance, seconds / messages)

    def _by_the_line(self, mean: float, variance: float, each_max: float) -> None:
        """At most half or double at a time, so that one stall does little.

        No message can cost more than its share of the last batch: that ends a stall's effect.
        """
        mean_time = self._t / self._weight
        covariance = self._nt / self._weight - mean * mean_time
        explained = covariance * covariance / variance
        whole = self._tt / self._weight - mean_time * mean_time
        fits = self._size_max
        if covariance > 0 and explained >= EXPLAINED_SHARE_MIN * whole:
            fits = int(self._work_seconds_max / min(covariance / variance, each_max))
        self._fitting = max(1, self._fitting // 2, min(self._size_max, fits, self._fitting * 2))

    def _without_a_line(self, messages: int, seconds: float) -> None:
        """All alike: another size is tried, so that the next fit can tell the two parts apart."""
        if messages < self._fitting:
            return
        if seconds > self._work_seconds_max and self._fitting > PROBE_UP_BELOW:
            self._fitting //= 2
        else:
            self._fitting = min(self._size_max, self._fitting * 2)

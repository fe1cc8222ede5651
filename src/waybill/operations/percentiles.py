"""Percentiles of samples in seconds, as every report of ours shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Percentiles:
    """Any number of percentiles of one set of samples; sorts once."""

    def __init__(self, samples: Iterable[float]) -> None:
        self._sorted = sorted(samples)

    def __len__(self) -> int:
        return len(self._sorted)

    def at(self, percent: float) -> float:
        """Linear between the two nearest samples (Hyndman and Fan's type 7); NaN without any.

        `at(0)` is the smallest, `at(100)` the largest.
        """
        if not self._sorted:
            return float("nan")
        place = (len(self._sorted) - 1) * percent / 100
        below = int(place)
        above = min(below + 1, len(self._sorted) - 1)
        share = place - below
        return self._sorted[below] * (1 - share) + self._sorted[above] * share

    def milliseconds(self, percent: float) -> float:
        """The same in milliseconds."""
        return self.at(percent) * 1000

"""Sides that take turns, and what their figures come to: medians with the smallest and largest.

Each round runs every side once, and every second round in the opposite order, so that a machine
that becomes slower or faster meanwhile favours nobody. Rounds stop early when time is up.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """The median of some figures, and how far they lie apart."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError if there are none."""
        if not values:
            raise ValueError("no figures: not one round was completed")
        return cls(statistics.median(values), min(values), max(values), len(values))


def ratio(upper: Sequence[float], lower: Sequence[float]) -> Spread:
    """The spread of the quotients round by round, which what both sides suffered does not move."""
    return Spread.of([above / below for above, below in zip(upper, lower, strict=True)])


@dataclass
class Budget:
    """A bound on the time of all that is measured. Nothing is begun that would not fit."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def used(self) -> float:
        """Seconds since it was made."""
        return self.clock() - self._began

    def left(self) -> float:
        """Seconds that remain; below 0 if it is overdrawn."""
        return self.seconds - self.used()

    def part(self, share: float) -> Budget:
        """A budget of its own, of that share of what remains."""
        return Budget(max(0.0, self.left() * share), self.clock)


async def alternate(
    sides: Mapping[str, Callable[[], Awaitable[T]]], rounds: int, budget: Budget
) -> dict[str, list[T]]:
    """What each side gave, round by round; a round is begun only if the longest so far fits."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    longest = 0.0
    for number in range(rounds):
        if number and budget.left() < longest:
            break
        began = budget.used()
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in names:
            found[name].append(await sides[name]())
        longest = max(longest, budget.used() - began)
    return found

"""What every ratio is given: scratch data, sizes, a budget of time, and a voice."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.load_side import Scenario, measure
from benchmarks.platform_processes import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.cluster import Scratch
    from benchmarks.effort import Effort
    from benchmarks.load_side import Rates
    from benchmarks.pairs import Budget
    from benchmarks.platform_processes import Topology


@dataclass
class Bench:
    """The surroundings of a measurement."""

    scratch: Scratch
    effort: Effort
    budget: Budget
    say: Callable[[str], None]
    best_topology: Topology | None = None
    """Which of the two confirms more, once R5 has compared them."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def name(self, what: str) -> str:
        """A directory name that was not used yet."""
        return f"{what}-{next(self._numbers)}"

    async def topology(self) -> Topology:
        """The one that confirms more; compared in one run each if R5 was not measured."""
        if self.best_topology is None:
            one, apart = TOPOLOGIES
            together = await self.waybill(Scenario(one), one)
            divided = await self.waybill(Scenario(apart), apart)
            self.best_topology = one if together.confirmed > divided.confirmed else apart
        return self.best_topology

    async def waybill(self, scenario: Scenario, what: str = "waybill") -> Rates:
        """Measure one side on fresh data."""
        with self.scratch.fresh(self.name("data")) as data:
            return await self.waybill_on(data, scenario, what)

    async def waybill_on(
        self, data: Path, scenario: Scenario, what: str, *, audit: bool = True
    ) -> Rates:
        """Measure one side on these data."""
        rates = await measure(data, self.effort, scenario, audit=audit)
        self.say(
            f"  {what}: {rates.confirmed:.0f} confirmed/s, {rates.accepted:.0f} accepted/s, "
            f"{rates.orders} orders"
        )
        return rates

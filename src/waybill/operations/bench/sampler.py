"""Looks at memory and at what has been carried once a second, from the beginning to the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Self

from waybill.operations.bench.figures import Sample
from waybill.operations.bench.processes import postgres_usage, python_usage

if TYPE_CHECKING:
    from waybill.operations.bench.confirmations import Confirmations
    from waybill.operations.bench.target import Target

EVERY_SECONDS: Final = 1.0
SAMPLES_MAX: Final = 100_000
"""A day of them; later ones are left out."""


class Sampler:
    """`async with` it. `accepted` is counted by whoever sends."""

    def __init__(self, target: Target, confirmations: Confirmations) -> None:
        self.samples: list[Sample] = []
        self.accepted = 0
        self._target = target
        self._confirmations = confirmations
        self._started = time.perf_counter()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def since_start(self, at: float) -> float:
        """Seconds from the run's beginning to this `time.perf_counter`."""
        return at - self._started

    def memory_max(self, began: float, ended: float) -> tuple[int, int]:
        """The largest memory of Python and of PostgreSQL between the two, and now."""
        self.look()
        first, last = self.since_start(began), self.since_start(ended)
        within = [s for s in self.samples if first <= s.seconds <= last] + self.samples[-1:]
        return max(s.python_bytes for s in within), max(s.postgres_bytes for s in within)

    async def _run(self) -> None:
        while len(self.samples) < SAMPLES_MAX:
            # Reading /proc takes milliseconds, for which no order would be sent.
            await asyncio.to_thread(self.look)
            await asyncio.sleep(EVERY_SECONDS)

    def look(self) -> Sample:
        """One more sample, now."""
        sample = Sample(
            seconds=self.since_start(time.perf_counter()),
            accepted=self.accepted,
            confirmed=self._confirmations.confirmed,
            python_bytes=python_usage(self._target.python()).memory_bytes,
            postgres_bytes=postgres_usage(self._target.postgres()).memory_bytes,
        )
        self.samples.append(sample)
        return sample

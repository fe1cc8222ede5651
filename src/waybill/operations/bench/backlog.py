"""A backlog: orders whose events nobody read, because only the order service ran; then the rest.

The rate is from the readiness of all services to the last end of an order.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from waybill.operations.bench.rest import BenchFailedError, Rest
from waybill.operations.bench.target import DRAIN_SECONDS_MAX, LOOK_SECONDS_FLAT_OUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.operations.bench.figures import Sample
    from waybill.operations.bench.phase import Progress
    from waybill.operations.bench.sending import Sending

EVERY_SECONDS: Final = 0.25
STALLED_SECONDS: Final = 60.0


class Drained(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Orders a second, how many there were, and Python's largest memory in each half of it."""

    orders: int
    per_second: float
    first_bytes_max: int
    second_bytes_max: int

    @property
    def growth(self) -> float:
        """Memory of the second half to that of the first."""
        return self.second_bytes_max / self.first_bytes_max


class Backlog(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How it was worked off, beside what is carried while orders come."""

    drained: Drained
    steady_per_second: float


class Others(Protocol):
    """All processes of a platform but the order service's."""

    async def stop(self) -> None:
        """Drain and end them."""

    async def start(self) -> None:
        """Start them again; returns when all are ready."""


def drained(samples: Sequence[Sample], orders: int) -> Drained:
    """What these samples say, the first of them taken when everybody was ready."""
    first, last = samples[0], samples[-1]
    seconds, middle = last.seconds - first.seconds, (first.seconds + last.seconds) / 2
    return Drained(
        orders=orders,
        per_second=(last.confirmed - first.confirmed) / seconds if seconds else 0.0,
        first_bytes_max=max(each.python_bytes for each in samples if each.seconds <= middle),
        second_bytes_max=max(each.python_bytes for each in samples if each.seconds >= middle),
    )


async def measure_backlog(
    sending: Sending,
    others: Others,
    orders: int,
    *,
    steady: float,
    connections: int,
    progress: Progress,
) -> Backlog:
    """Pile it up and watch it go. Raises BenchFailedError if it stands still."""
    confirmations = sending.confirmations
    confirmations.look_seconds = LOOK_SECONDS_FLAT_OUT
    await others.stop()
    progress.step(f"a backlog of {orders} orders")
    accepted = 0
    while accepted < orders:
        plan = sending.counted(orders - accepted, connections=connections)
        accepted += (await sending.send(plan)).accepted
    progress.step("the backlog is worked off")
    await others.start()
    samples = [sending.sampler.look()]
    changed = time.perf_counter()
    while confirmations.pending:
        await asyncio.sleep(EVERY_SECONDS)
        samples.append(await asyncio.to_thread(sending.sampler.look))
        if samples[-1].confirmed > samples[-2].confirmed:
            changed = time.perf_counter()
        elif time.perf_counter() - changed > STALLED_SECONDS:
            raise BenchFailedError(f"a backlog stands still: {confirmations.pending} orders wait")
    await Rest(sending.target, confirmations, DRAIN_SECONDS_MAX).until_quiet()
    return Backlog(drained=drained(samples, accepted), steady_per_second=steady)


def rows(backlog: Backlog) -> list[str]:
    """Of a table, for people."""
    found, steady = backlog.drained, backlog.steady_per_second
    share = f"{found.per_second / steady:.2f} of {steady:.0f}" if steady else "-"
    return [
        f"| orders whose events nobody had read | {found.orders} |",
        f"| worked off, orders a second | {found.per_second:.0f} |",
        f"| to what is carried while orders come | {share} |",
        f"| memory of Python, second half to first | {found.growth:.2f} |",
    ]

"""Many orders at the same moment, for fewer units than there are of them (R295)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from waybill.operations.bench.rest import Rest
from waybill.operations.bench.target import DRAIN_SECONDS_MAX
from waybill.operations.load import raise_stock
from waybill.operations.sent_orders import one_product

if TYPE_CHECKING:
    from waybill.operations.bench.phase import Progress
    from waybill.operations.bench.sending import Sending

SHARE_OF_UNITS: Final = 0.75
"""So many units are there for each order: a quarter of them must go without."""
ANSWER_SECONDS_MAX: Final = 60.0
"""Of one request: the last of thousands waits for all others."""


class Burst(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What became of them. Every one is on a connection of its own."""

    orders: int
    units: int
    accepted: int
    refused: dict[str, int]
    """By status: 503 tells them to come back, 409 that nothing is left."""
    unknown: int
    confirmed: int
    cancelled: int
    answered_seconds: float
    """Until the last was answered."""
    settled_seconds: float
    """From the first send until nothing was under way."""

    @property
    def oversold(self) -> int:
        """Orders that were confirmed and for which there was no unit."""
        return max(0, self.confirmed - self.units)


async def measure_burst(sending: Sending, orders: int, progress: Progress) -> Burst:
    """Send them. Raises BenchFailedError if they do not all end."""
    units = max(1, int(orders * SHARE_OF_UNITS))
    plan = replace(
        sending.counted(orders, connections=orders),
        contents=one_product(sending.target.blueprint),
        timeout_seconds=ANSWER_SECONDS_MAX,
    )
    await raise_stock(plan, units)
    rest = Rest(sending.target, sending.confirmations, DRAIN_SECONDS_MAX)
    tally = sending.confirmations.begin()
    progress.step(f"{orders} orders at once")
    began = time.perf_counter()
    result = await sending.send(plan)
    answered = time.perf_counter()
    await rest.until_ended()
    await rest.until_quiet()
    settled = time.perf_counter()
    await raise_stock(plan)
    return Burst(
        orders=orders,
        units=units,
        accepted=result.accepted,
        refused=dict(result.refused),
        unknown=result.unknown,
        confirmed=len(tally.written),
        cancelled=tally.cancelled,
        answered_seconds=answered - began,
        settled_seconds=settled - began,
    )


def rows(burst: Burst) -> list[str]:
    """Of a table, for people."""
    turned_away = f"{sum(burst.refused.values())}, {burst.unknown}"
    seconds = f"{burst.answered_seconds:.1f}, {burst.settled_seconds:.1f}"
    return [
        f"| orders at once, units for them | {burst.orders}, {burst.units} |",
        f"| accepted | {burst.accepted} |",
        f"| refused, unknown | {turned_away} |",
        f"| confirmed, cancelled | {burst.confirmed}, {burst.cancelled} |",
        f"| seconds until the last answer, until settled | {seconds} |",
        f"| **oversold** | **{burst.oversold}** |",
    ]

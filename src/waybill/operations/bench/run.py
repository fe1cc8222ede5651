"""A whole bench: every phase with one set of instruments, then the audit.

No clean audit, no number: results exist only if every rule that applies was looked at and holds.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from waybill.operations.audit import AuditOptions, audit
from waybill.operations.audit.scope import ORDER
from waybill.operations.bench.confirmations import Confirmations
from waybill.operations.bench.counters import Counters
from waybill.operations.bench.durability import read_durability
from waybill.operations.bench.order_rows import OrderRows
from waybill.operations.bench.phase import Phases
from waybill.operations.bench.sampler import Sampler
from waybill.operations.history import HistoryWriter
from waybill.operations.load import raise_stock
from waybill.operations.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from waybill.operations.audit import Report
    from waybill.operations.bench.durability import Durability
    from waybill.operations.bench.figures import Measured, Sample
    from waybill.operations.bench.phase import Progress
    from waybill.operations.bench.target import PhasePlan, Target

AUDIT_SETTLE_SECONDS: Final = 60.0
COLLECT_AFTER: Final = 50_000


@dataclass(frozen=True)
class Outcome:
    """What was measured, and what the audit says of it."""

    blueprint: str
    report: Report
    durability: Durability
    phases: tuple[Measured, ...]
    samples: tuple[Sample, ...]

    @property
    def is_clean(self) -> bool:
        """Whether the figures may be shown at all."""
        return self.report.exit_status == 0


async def measure(
    target: Target, plans: Sequence[PhasePlan], *, history: Path, progress: Progress
) -> Outcome:
    """Run the phases and the audit. Raises MessagingError if the platform cannot be measured."""
    _spare_the_collector()
    progress.step("raising the stock")
    await raise_stock(
        Plan(
            *(0, 0, 0),
            host=target.host,
            port_base=target.port_base,
            blueprint=target.blueprint,
            token=target.token,
        )
    )
    durability = await read_durability(target.urls["order"], target.data_directory)
    with HistoryWriter(history) as writer:
        confirmations = _confirmations(target, plans[0].look_seconds)
        async with (
            confirmations,
            Counters(target) as counters,
            Sampler(target, confirmations) as sampler,
        ):
            phases = Phases(
                target,
                counters=counters,
                confirmations=confirmations,
                sampler=sampler,
                history=writer,
                progress=progress,
            )
            measured = tuple([await phases.run(plan) for plan in plans])
    progress.step("audit")
    report = await audit(
        target.auditor_urls,
        AuditOptions(
            blueprint=target.blueprint,
            settle_seconds=AUDIT_SETTLE_SECONDS,
            history=history,
            kafka=target.kafka,
        ),
    )
    return Outcome(target.blueprint.name, report, durability, measured, tuple(sampler.samples))


def _confirmations(target: Target, look_seconds: float) -> Confirmations:
    """By the outbox where that tells how orders end, and nothing is compared; else by rows."""
    if target.blueprint.workload.tells_endings and not target.is_compared:
        return Confirmations(target.order_reader_url, look_seconds=look_seconds)
    url = target.auditor_urls[ORDER]
    return OrderRows(url, process=target.blueprint.order_process, look_seconds=look_seconds)


def _spare_the_collector() -> None:
    """A long look for cycles would make the load generator late, and that would be measured."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)

"""A whole bench: every phase with one set of instruments, then the audit.

No clean audit, no number: results exist only if every rule that applies was looked at and holds.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from waybill.operations.audit import AuditOptions, audit
from waybill.operations.audit.scope import ORDER
from waybill.operations.bench.backlog import measure_backlog
from waybill.operations.bench.burst import measure_burst
from waybill.operations.bench.confirmations import Confirmations
from waybill.operations.bench.counters import Counters
from waybill.operations.bench.durability import read_durability
from waybill.operations.bench.order_rows import OrderRows
from waybill.operations.bench.phase import Phases
from waybill.operations.bench.rest import BenchFailedError
from waybill.operations.bench.sampler import Sampler
from waybill.operations.bench.sending import Sending
from waybill.operations.bench.target import NOTHING_MORE
from waybill.operations.history import HistoryWriter
from waybill.operations.load import raise_stock
from waybill.operations.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from waybill.operations.audit import Report
    from waybill.operations.bench.backlog import Backlog
    from waybill.operations.bench.burst import Burst
    from waybill.operations.bench.durability import Durability
    from waybill.operations.bench.figures import Measured, Sample
    from waybill.operations.bench.phase import Progress
    from waybill.operations.bench.target import Extra, PhasePlan, Target

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
    burst: Burst | None = None
    backlog: Backlog | None = None

    @property
    def is_clean(self) -> bool:
        """Whether the figures may be shown at all."""
        return self.report.exit_status == 0


async def measure(
    target: Target,
    plans: Sequence[PhasePlan],
    *,
    history: Path,
    progress: Progress,
    extra: Extra = NOTHING_MORE,
) -> Outcome:
    """Run the phases, what was asked for besides, and the audit.

    Raises MessagingError if the platform cannot be measured.
    """
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
            sending = Sending(target, confirmations, sampler, writer)
            phases = Phases(sending, counters=counters, progress=progress)
            measured = tuple([await phases.run(plan) for plan in plans])
            burst = await measure_burst(sending, extra.burst, progress) if extra.burst else None
            backlog = await _backlog(sending, extra, measured, progress)
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
    samples = tuple(sampler.samples)
    return Outcome(
        target.blueprint.name, report, durability, measured, samples, burst=burst, backlog=backlog
    )


async def _backlog(
    sending: Sending, extra: Extra, measured: Sequence[Measured], progress: Progress
) -> Backlog | None:
    """Beside what is carried flat out. Raises BenchFailedError if the processes are not ours."""
    if not extra.backlog:
        return None
    flat_out = [phase for phase in measured if not phase.rate]
    if sending.target.others is None or not flat_out:
        raise BenchFailedError("a backlog needs one process a service, and a phase of rate 0")
    return await measure_backlog(
        sending,
        sending.target.others,
        extra.backlog,
        steady=flat_out[-1].confirmed_per_second,
        connections=flat_out[-1].connections,
        progress=progress,
    )


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

"""The platforms of one bench: the one that is measured, and another one for the outage.

What a platform for the moment wrote into topics goes with its data, unless its audit was not clean.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from waybill.operations.bench.away import measure_outage
from waybill.operations.bench.run import measure
from waybill.operations.bench.stand_ins import stand_in_for
from waybill.operations.bench.target import NOTHING_MORE
from waybill.platform.bench_scratch import DATA_NAME
from waybill.platform.benched import own_platform, running_platform
from waybill.platform.chosen import chosen
from waybill.platform.demonstration import free_port_base
from waybill.platform.empty_topics import empty_topics
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from waybill.operations.bench.away import Away
    from waybill.operations.bench.phase import Progress
    from waybill.operations.bench.run import Outcome
    from waybill.operations.bench.target import Extra, OutagePlan, PhasePlan, Target

HISTORY_NAME: Final = "history.jsonl"


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What the command line asks for."""

    plans: Sequence[PhasePlan]
    out: Path
    data_directory: Path | None
    port_base: int | None
    processes: bool
    running: bool
    kafka: bool
    blueprint: str | None
    command: str
    partitions: int | None = None
    """Of each topic; None: as KAFKA_PARTITIONS says."""
    extra: Extra = NOTHING_MORE
    outage: OutagePlan | None = None
    """Measured on a second platform, on new data of its own."""
    is_compared: bool = False
    """Whether the ends of orders are seen in the same way whatever the blueprint."""


async def measured_platform(options: BenchOptions, scratch: Path, progress: Progress) -> Outcome:
    """Start or find it, measure, audit. Raises MessagingError if it could not be measured."""
    progress.step("starting the platform")
    async with _platform(options, scratch) as found:
        target = replace(found, is_compared=options.is_compared)
        history = scratch / HISTORY_NAME
        outcome = await measure(
            target, options.plans, history=history, progress=progress, extra=options.extra
        )
    if outcome.is_clean and not options.running and options.data_directory is None:
        await empty_topics(target.kafka, target.blueprint)
    return outcome


@asynccontextmanager
async def _platform(options: BenchOptions, scratch: Path) -> AsyncIterator[Target]:
    if options.running:
        settings = Settings.load(
            blueprint=options.blueprint,
            data_directory=options.data_directory,
            port_base=options.port_base,
        )
        async with running_platform(settings) as target:
            yield target
        return
    settings = _own(options, options.data_directory or scratch / DATA_NAME)
    platform = own_platform(
        settings,
        processes=options.processes,
        kafka=options.kafka,
        around=_around(options, os.environ),
    )
    async with platform as target:
        yield target


def _around(options: BenchOptions, environment: Mapping[str, str]) -> dict[str, str]:
    given = {} if options.partitions is None else {"KAFKA_PARTITIONS": str(options.partitions)}
    return {**environment, **given}


def _own(options: BenchOptions, data: Path) -> Settings:
    port_base = free_port_base() if options.port_base is None else options.port_base
    return Settings.load(blueprint=options.blueprint, data_directory=data, port_base=port_base)


async def measured_outage(
    options: BenchOptions, plan: OutagePlan, scratch: Path, progress: Progress
) -> Away:
    """The outage, on a platform of its own that calls who stands in, and nobody else."""
    settings = _own(options, scratch / DATA_NAME)
    stand_in = stand_in_for(chosen(settings).workload.target)
    await stand_in.start(settings.port_base)
    try:
        progress.step("outage: starting another platform")
        platform = own_platform(
            settings,
            processes=options.processes,
            kafka=options.kafka,
            around=_around(options, stand_in.environment(os.environ)),
        )
        async with platform as target:
            history = scratch / HISTORY_NAME
            away = await measure_outage(target, plan, stand_in, history=history, progress=progress)
        if not away.report.exit_status:
            await empty_topics(target.kafka, target.blueprint)
        return away
    finally:
        await stand_in.stop()

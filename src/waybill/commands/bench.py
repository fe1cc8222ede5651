"""`waybill bench`: how much a platform carries, and what an order costs it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from waybill.commands.options import ChosenBlueprint, Data, PortBase  # noqa: TC001 - read by typer
from waybill.messaging.core.errors import ConfigurationError

RATES = (100.0, 0.0)
OUTAGE_SECONDS = 30.0
"""By default, where blueprints are compared."""


class Log(StrEnum):
    """Where consumers of a platform of its own read."""

    OUTBOX = "outbox"
    KAFKA = "kafka"


def bench(
    data: Data = None,
    port_base: PortBase = None,
    *,
    blueprint: ChosenBlueprint = None,
    all_blueprints: Annotated[
        bool,
        typer.Option(
            "--all-blueprints", help="The same through each blueprint, on new data: one table."
        ),
    ] = False,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000,
            help="Orders per second; 0: as many as the connections carry. May be repeated. "
            "Default: 100, then 0.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 30.0,
    warm_up_seconds: Annotated[float, typer.Option(min=0, help="Before each, not counted.")] = 5.0,
    settle_seconds: Annotated[
        float,
        typer.Option(min=0, help="Pause for PostgreSQL's row counters, which are up to 10 s late."),
    ] = 10.5,
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="Of the load.")] = 32,
    watch_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Look at each N-th order by GET too; 0: none.")
    ] = 0,
    processes: Annotated[
        bool, typer.Option("--processes", help="One process a service, not one for all.")
    ] = False,
    log: Annotated[
        Log,
        typer.Option(
            help="outbox: consumers read the outboxes; kafka: by relays over KAFKA_BROKERS."
        ),
    ] = Log.OUTBOX,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Of each topic, with --log kafka. Default: 6."),
    ] = None,
    burst: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=10_000,
            help="Then N orders at the same moment, for three quarters as many units; 0: none.",
        ),
    ] = 0,
    backlog: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=10_000_000,
            help="Then N orders while only the order service runs, and how fast the others work "
            "them off, beside --rate 0; with --processes. 0: none.",
        ),
    ] = 0,
    outage_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=600,
            help="Then, on another platform: the payment provider (or who is mailed or notified) "
            "is unreachable for so long; what customers see, and when all is settled. "
            "Default: 30 with --all-blueprints, else 0: not.",
        ),
    ] = None,
    outage_rate: Annotated[
        float, typer.Option(min=0.1, max=10_000, help="Orders per second of that.")
    ] = 20.0,
    running: Annotated[
        bool,
        typer.Option("--running", help="Measure the platform that runs on --data, --port-base."),
    ] = False,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where bench.json, bench.md and the plots go.")
    ] = Path("waybill-bench"),
) -> None:
    """Place orders at a rate, or as many as are carried, and measure; then audit.

    Starts a platform of its own on free ports and (without --data) on data that are dropped
    again. Latency counts from the intended send. Figures are written only if the audit is clean.
    Exit status: 0 measured, 1 not, or the audit is not clean.

    Example: waybill bench --rate 100 --rate 0 --seconds 30 --out waybill-bench
    """
    from rich.console import Console  # noqa: PLC0415 - fast help

    from waybill.commands.place import given, settings_of  # noqa: PLC0415 - as above
    from waybill.operations.bench.target import Extra, OutagePlan, PhasePlan  # noqa: PLC0415 - as above
    from waybill.platform.bench_runs import BenchOptions  # noqa: PLC0415 - as above
    from waybill.platform.benchmark import run_bench  # noqa: PLC0415 - as above
    from waybill.platform.compared import run_comparison  # noqa: PLC0415 - as above
    from waybill.platform.databases import own_databases  # noqa: PLC0415 - as above

    if own_databases() is not None:
        raise ConfigurationError(
            "what an order costs is read from the embedded PostgreSQL: "
            "take POSTGRES_HOST and every …_DATABASE_URL out of the environment"
        )
    if running and (processes or outage_seconds or log is Log.KAFKA):
        option = "--outage-seconds" if outage_seconds else "--log"
        option = "--processes" if processes else option
        raise typer.BadParameter(f"{option} is for a platform of its own, not for --running")
    rates = rate or RATES
    if partitions is not None and log is not Log.KAFKA:
        raise typer.BadParameter("--partitions is of topics: add --log kafka")
    if backlog and not (processes and 0 in rates):
        raise typer.BadParameter(
            "--backlog stops all but the order service, and compares with what is carried: "
            "add --processes and --rate 0"
        )
    data, port_base = given(data, port_base)
    if all_blueprints and (running or blueprint or data):
        raise typer.BadParameter(
            "--all-blueprints starts platforms of its own on new data: leave --running, "
            "--blueprint and --data out"
        )
    if outage_seconds is None:
        outage_seconds = OUTAGE_SECONDS if all_blueprints else 0.0
    if running:
        settings = settings_of(data, port_base)
        data, port_base = settings.data_directory, settings.port_base
    options = BenchOptions(
        plans=[
            PhasePlan(
                rate=each,
                seconds=seconds,
                warm_up_seconds=warm_up_seconds,
                settle_seconds=settle_seconds,
                connections=connections,
                watch_every=watch_every,
            )
            for each in rates
        ],
        out=out,
        data_directory=data,
        port_base=port_base,
        processes=processes,
        running=running,
        kafka=log is Log.KAFKA,
        partitions=partitions,
        extra=Extra(burst=burst, backlog=backlog),
        blueprint=blueprint,
        outage=OutagePlan(seconds=outage_seconds, rate=outage_rate) if outage_seconds else None,
        command=" ".join(["waybill", *sys.argv[1:]]),
    )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    bench_as_asked = run_comparison if all_blueprints else run_bench
    if not bench_as_asked(console, options):
        raise typer.Exit(1)

"""`waybill audit`: proves from databases and topics that nothing was lost, doubled or stranded."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - read by typer
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.options import Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say
from waybill.commands.place import settings_of
from waybill.messaging.core.errors import ConfigurationError, MessagingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from waybill.blueprints.definition import Blueprint
    from waybill.operations.audit import AuditOptions, Kind, Report
    from waybill.platform.settings import Settings


def audit(
    data: Data = None,
    port_base: PortBase = None,
    *,
    kind: Annotated[
        str,
        typer.Option(
            help="A: at every instant. Q: once nothing is under way. H: by a history. Default: all."
        ),
    ] = "A,Q,H",
    settle: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Wait so long until nothing is under way."),
    ] = 0.0,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What a client was told: docs/history.md.")
    ] = None,
    elsewhere: Annotated[
        str,
        typer.Option(metavar="SERVICES", help="Run by somebody else (commas): look not there."),
    ] = "",
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="Shown of each rule.")] = 20,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Only show which rules apply, and why others do not.")
    ] = False,
    prometheus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write figures for alerts: docs/audit.md.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Prove from databases and topics, read-only, that nothing was lost, doubled or stranded.

    Exit status: 0 all rules hold, 1 a rule is violated, 2 not everything could be looked at.

    Example: waybill audit --settle 60
    """
    import asyncio  # noqa: PLC0415 - fast help

    from waybill.messaging.adapters.kafka.settings import KafkaSettings  # noqa: PLC0415 - as above
    from waybill.operations.audit import AuditOptions, matrix_of  # noqa: PLC0415 - as above
    from waybill.operations.audit.report import COULD_NOT_RUN  # noqa: PLC0415 - as above

    try:
        settings = settings_of(data, port_base)
        options = AuditOptions(
            blueprint=_with_accounts(settings),
            kinds=_kinds(kind),
            settle_seconds=settle,
            history=history,
            rows_max=rows,
            elsewhere=_services(elsewhere) | _outside(),
            kafka=KafkaSettings.from_environment(os.environ),
        )
        if history is None and [each.value for each in options.kinds] == ["H"]:
            raise ConfigurationError("--kind H needs what a client was told: --history FILE")
        if matrix:
            _show(matrix_of(options), as_json=as_json)
            return
        with shown_progress(as_json=as_json) as progress:
            report = asyncio.run(_audit(settings, options, progress))
    except MessagingError as error:
        sys.stderr.write(f"waybill: {error}\n")
        raise typer.Exit(COULD_NOT_RUN) from None
    _show(report, as_json=as_json)
    if prometheus is not None:
        _expose(report, prometheus)
    raise typer.Exit(report.exit_status)


def _with_accounts(settings: Settings) -> Blueprint:
    """The blueprint, and the accounts service where it runs."""
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - fast help
    from waybill.platform.edge_choice import with_edge  # noqa: PLC0415 - as above

    blueprint = chosen(settings)
    if not with_edge(settings, blueprint).accounts:
        return blueprint
    from waybill.edge.accounts.listed import with_accounts  # noqa: PLC0415 - most have none

    return with_accounts(blueprint)


def _expose(report: Report, path: Path) -> None:
    """For the order service, which shows it among its metrics."""
    from datetime import UTC, datetime  # noqa: PLC0415 - fast help

    from waybill.operations.audit.exposition import write_exposition  # noqa: PLC0415 - as above

    try:
        write_exposition(report, path, datetime.now(UTC))  # noqa: TID251 - a command's clock
    except OSError as error:
        sys.stderr.write(f"waybill: {path} cannot be written: {error.strerror}\n")
        raise typer.Exit(2) from None


def _services(text: str) -> frozenset[str]:
    """Names of services; without the order service nothing could be proven."""
    from waybill.operations.audit.scope import INVENTORY, NOTIFICATION, PAYMENT  # noqa: PLC0415

    named = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := named - {INVENTORY, NOTIFICATION, PAYMENT}:
        raise ConfigurationError(
            f"--elsewhere {', '.join(sorted(unknown))}: name inventory, notification or payment"
        )
    return named


def _outside() -> frozenset[str]:
    """A provider of one's own keeps its books where we cannot look; the simulator has none then."""
    from waybill.commerce.payments.outside import ProviderSettings  # noqa: PLC0415 - fast help
    from waybill.operations.audit.scope import PROVIDER  # noqa: PLC0415 - as above

    used = ProviderSettings.from_environment(os.environ) is not None
    return frozenset({PROVIDER} if used else ())


def _kinds(text: str) -> frozenset[Kind]:
    from waybill.operations.audit import Kind  # noqa: PLC0415 - fast help

    letters = [letter.strip().upper() for letter in text.split(",")]
    known = [kind.value for kind in Kind]
    if unknown := [letter for letter in letters if letter not in known]:
        raise ConfigurationError(f"--kind {', '.join(unknown)}: say one or more of A,Q,H")
    return frozenset(Kind(letter) for letter in letters)


@contextmanager
def shown_progress(
    console: Console | None = None, *, as_json: bool
) -> Iterator[Callable[[str], None]]:
    """A line of standard error that tells what is waited for; on a terminal only."""
    from rich.console import Console  # noqa: PLC0415 - fast help
    from rich.text import Text  # noqa: PLC0415 - as above

    console = console or Console(stderr=True)
    if as_json or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))


async def _audit(
    settings: Settings, options: AuditOptions, progress: Callable[[str], None]
) -> Report:
    from waybill.operations.audit import audit as run  # noqa: PLC0415 - fast help
    from waybill.platform.databases import reached, urls_of  # noqa: PLC0415 - as above
    from waybill.platform.own_databases import SERVICES, OwnDatabases  # noqa: PLC0415 - as above

    also = {each.database for each in options.blueprint.services.values()}
    names = {*SERVICES, *also}
    async with reached(settings) as server:
        if isinstance(server, OwnDatabases) and server.on_mysql:
            # Needs the extra `mysql`.
            from waybill.platform.mirror import audit_mirrored  # noqa: PLC0415

            return await audit_mirrored(server, options, progress)
        urls = {service: urls_of(server, service).auditor for service in names}
        return await run(urls, options, progress=progress)


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        say(report.as_json().decode())
        return
    from rich.console import Console  # noqa: PLC0415 - fast help

    from waybill.operations.audit.table import show_report  # noqa: PLC0415 - as above

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 140
    show_report(report, console)

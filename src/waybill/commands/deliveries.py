"""`waybill deliveries`: outside calls of unknown outcome, and an operator's word on them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID  # noqa: TC003 - read by typer

import typer

from waybill.commands.options import AsJson, Data, PortBase, Why  # noqa: TC001 - read by typer
from waybill.commands.output import say, show
from waybill.commands.place import run, service_databases, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.platform.settings import Settings

app = typer.Typer(help="Outside calls that wait for an operator.", no_args_is_help=True)


@app.command("list")
def list_(
    data: Data = None,
    port_base: PortBase = None,
    *,
    kind: Annotated[str | None, typer.Option(help="charge, refund, email, …")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Of each service at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List parked deliveries.

    Example: waybill deliveries list --kind charge
    """
    run(_list(settings_of(data, port_base), kind, limit, as_json=as_json))


async def _list(settings: Settings, kind: str | None, limit: int, *, as_json: bool) -> None:
    columns = ("service", "id", "kind", "key", "attempts", "reason", "cancelled", "created_at")
    rows = []
    async with service_databases(settings) as databases:
        for service, database in databases.items():
            verdicts = databases.engine.verdicts
            for parked in await verdicts.list_parked_deliveries(database, kind=kind, limit=limit):
                values = {column: getattr(parked, column) for column in columns[1:]}
                rows.append({"service": service, **values})
    show(rows, as_json=as_json, columns=columns, none="no parked deliveries")


@app.command()
def resolve(
    ids: Annotated[list[UUID], typer.Argument(help="As `list` shows them.")],
    why: Why,
    data: Data = None,
    port_base: PortBase = None,
    *,
    outcome: Annotated[
        Literal["delivered", "refused", "retry"],
        typer.Option("--as", help="What was found out; retry asks and calls again."),
    ],
    result: Annotated[
        str, typer.Option(help="With delivered: what the other side gave, its id for a charge.")
    ] = "",
) -> None:
    """Say what became of parked deliveries, or have them asked and tried again.

    Example: waybill deliveries resolve 019359b2-… --as retry --why "the provider is back"
    """
    run(_resolve(settings_of(data, port_base), ids, outcome, result, why))


async def _resolve(
    settings: Settings, ids: Sequence[UUID], outcome: str, result: str, why: str
) -> None:
    from waybill.messaging.core.outcome import Delivered, Refused  # noqa: PLC0415 - fast help

    verdicts = {"delivered": Delivered(result.encode()), "refused": Refused(why), "retry": None}
    judged: set[UUID] = set()
    async with service_databases(settings) as databases:
        for database in databases.values():
            judged |= await databases.engine.verdicts.judge_parked_deliveries(
                database, ids, verdicts[outcome], who=getpass.getuser(), why=why
            )
    for id_ in sorted(judged):
        say(f"{id_} {outcome}: carried out at the service's next turn")
    if missing := set(ids) - judged:
        raise ConfigurationError(f"not parked: {', '.join(map(str, sorted(missing)))}")

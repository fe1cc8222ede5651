"""`waybill outbox held`: records that Kafka takes never, and an operator's verdict on them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from waybill.commands.options import AsJson, Data, PortBase, Why  # noqa: TC001 - read by typer
from waybill.commands.output import say, show
from waybill.commands.place import run, service_databases, settings_of
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.relay import HeldInfo, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.platform.settings import Settings

app = typer.Typer(help="Messages on their way out.", no_args_is_help=True)
held = typer.Typer(
    help="Messages that Kafka takes never as they are, and those of their key behind them.",
    no_args_is_help=True,
)
app.add_typer(held, name="held")

MessageIds = Annotated[list[UUID], typer.Argument(help="Ids of messages, as `list` shows them.")]
COLUMNS = ("service", "id", "state", "type", "key", "bytes", "verdict", "reason", "held_at")


@held.command("list")
def list_(
    data: Data = None,
    port_base: PortBase = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="With those that were skipped.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Of each service at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List them: HELD was refused, BEHIND waits for one that was.

    Example: waybill outbox held list
    """
    run(_list(settings_of(data, port_base), every=every, limit=limit, as_json=as_json))


async def _list(settings: Settings, *, every: bool, limit: int, as_json: bool) -> None:
    rows: list[dict[str, object]] = []
    async with service_databases(settings) as databases:
        for service, database in databases.items():
            found = await databases.engine.list_held(database, limit=limit, with_skipped=every)
            rows += [
                {"service": service, **{f: getattr(info, f) for f in HeldInfo.__struct_fields__}}
                for info in found
            ]
    show(rows, as_json=as_json, columns=COLUMNS, none="nothing is held")


@held.command()
def resume(
    message_ids: MessageIds, why: Why, data: Data = None, port_base: PortBase = None
) -> None:
    """Send them after all, and what waits behind them; for one that Kafka takes now.

    Example: waybill outbox held resume 019359b2-… --why "max.message.bytes is 4 MB now"
    """
    run(_judge(settings_of(data, port_base), message_ids, Verdict.RESUME, why))


@held.command()
def skip(message_ids: MessageIds, why: Why, data: Data = None, port_base: PortBase = None) -> None:
    """Never send them; what waits behind them goes on. They stay in the list of --all.

    Example: waybill outbox held skip 019359b2-… --why "sent by hand"
    """
    run(_judge(settings_of(data, port_base), message_ids, Verdict.SKIP, why))


async def _judge(
    settings: Settings, message_ids: Sequence[UUID], verdict: Verdict, why: str
) -> None:
    judged: set[UUID] = set()
    async with service_databases(settings) as databases:
        for database in databases.values():
            judged |= await databases.engine.judge_held(
                database, message_ids, verdict, who=getpass.getuser(), why=why
            )
    done = "is sent next" if verdict is Verdict.RESUME else "will not be sent"
    for message_id in message_ids:
        if message_id in judged:
            say(f"{message_id} {done}")
    unknown = [str(message_id) for message_id in message_ids if message_id not in judged]
    if unknown:
        raise ConfigurationError(f"not held: {', '.join(unknown)}; see `waybill outbox held list`")

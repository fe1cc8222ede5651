"""`waybill dead-letters`: what could not be applied, and an operator's verdict on it."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from waybill.commands.options import AsJson, Data, PortBase, Why  # noqa: TC001 - read by typer
from waybill.commands.output import say, show
from waybill.commands.place import run, service_databases, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database
    from waybill.messaging.core.verdicts import Judged, LetterInfo, Verdicts
    from waybill.platform.settings import Settings

app = typer.Typer(help="Messages that could not be applied.", no_args_is_help=True)

DAY_SECONDS = 86_400.0

TEXT_CHARS_MAX = 8_000
"""Of a field, or of a line of a stack trace, on the terminal."""

Consumer = Annotated[str, typer.Argument(help="The consumer that failed.")]
MessageIds = Annotated[list[UUID], typer.Argument(help="Ids of messages, as `list` shows them.")]


@app.command("list")
def list_(
    data: Data = None,
    port_base: PortBase = None,
    *,
    consumer: Annotated[str | None, typer.Option(help="Only of this consumer.")] = None,
    every: Annotated[bool, typer.Option("--all", help="With those that have a verdict.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Of each service at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters that wait for a verdict.

    Example: waybill dead-letters list --consumer inventory-service
    """
    settings = settings_of(data, port_base)
    run(_list(settings, consumer, None if every else "OPEN", limit, as_json=as_json))


async def _list(
    settings: Settings, consumer: str | None, verdict: str | None, limit: int, *, as_json: bool
) -> None:
    rows = []
    async with service_databases(settings) as databases:
        for database in databases.values():
            found = await databases.engine.verdicts.list_dead_letters(
                database, consumer=consumer, verdict=verdict, limit=limit
            )
            rows += [_row(info) for info in found]
    columns = ("consumer", "message_id", "topic", "type", "key", "verdict", "error", "created_at")
    show(rows, as_json=as_json, columns=columns, none="no dead letters")


@app.command("show")
def show_letter(
    message_id: Annotated[UUID, typer.Argument(help="As `list` shows it.")],
    data: Data = None,
    port_base: PortBase = None,
) -> None:
    """Show one dead letter whole: envelope, value, error, verdict.

    Example: waybill dead-letters show 019359b2-7d0a-7c3e-9d5a-2b1f0c9e8a77
    """
    run(_show(settings_of(data, port_base), message_id))


async def _show(settings: Settings, message_id: UUID) -> None:
    found: list[LetterInfo] = []
    async with service_databases(settings) as databases:
        for database in databases.values():
            found += await databases.engine.verdicts.show_dead_letter(database, message_id)
    if not found:
        raise ConfigurationError(f"there is no dead letter of message {message_id}")
    for info in found:
        _print(info)


@app.command()
def redrive(
    consumer: Consumer,
    message_ids: MessageIds,
    why: Why,
    data: Data = None,
    port_base: PortBase = None,
) -> None:
    """Have the consumer apply them, as if they came now.

    Example: waybill dead-letters redrive inventory-service 019359b2-… --why "fixed in 0.1.1"
    """
    settings = settings_of(data, port_base)
    run(_judge(settings, consumer, message_ids, why, discard=False))


@app.command()
def discard(
    consumer: Consumer,
    message_ids: MessageIds,
    why: Why,
    data: Data = None,
    port_base: PortBase = None,
) -> None:
    """Never apply them, not even when their topic is read again.

    Example: waybill dead-letters discard inventory-service 019359b2-… --why "a test message"
    """
    settings = settings_of(data, port_base)
    run(_judge(settings, consumer, message_ids, why, discard=True))


async def _judge(
    settings: Settings, consumer: str, message_ids: Sequence[UUID], why: str, *, discard: bool
) -> None:
    async with service_databases(settings) as databases:
        if consumer not in databases:
            raise ConfigurationError(
                f"there is no consumer {consumer}: one of {', '.join(sorted(databases))}"
            )
        judged = await _verdict(
            databases.engine.verdicts,
            databases[consumer],
            settings,
            consumer,
            message_ids,
            why,
            discard=discard,
        )
    for message_id in judged.done:
        say(f"{message_id} {'discarded' if discard else 'will be redriven'}")
    if judged.refused:
        told = "; ".join(f"{message_id}: {reason}" for message_id, reason in judged.refused.items())
        raise ConfigurationError(told)


async def _verdict(  # noqa: PLR0917 - private, called once
    verdicts: Verdicts,
    database: Database,
    settings: Settings,
    consumer: str,
    message_ids: Sequence[UUID],
    why: str,
    *,
    discard: bool,
) -> Judged:
    who = getpass.getuser()
    if discard:
        return await verdicts.discard_dead_letters(
            database, consumer, message_ids, who=who, why=why
        )
    return await verdicts.redrive_dead_letters(
        database,
        consumer,
        message_ids,
        who=who,
        why=why,
        inbox_retention_seconds=settings.inbox_retention_days * DAY_SECONDS,
    )


def _row(info: LetterInfo) -> dict[str, object]:
    letter, message = info.letter, info.letter.record.message
    return {
        "consumer": letter.consumer,
        "message_id": message.id,
        "topic": message.topic,
        "type": message.type,
        "key": message.key,
        "verdict": info.verdict,
        "verdict_by": info.verdict_by,
        "verdict_reason": info.verdict_reason,
        "error": f"{letter.error_type}: {letter.error_message}",
        "redrives": info.redrives,
        "created_at": info.created_at,
    }


def _print(info: LetterInfo) -> None:
    from waybill.platform.logs import printable  # noqa: PLC0415 - fast help

    letter, record = info.letter, info.letter.record
    fields = _row(info) | {
        "source": f"{record.source} {record.lane}:{record.seq}",
        "correlation_id": record.message.correlation_id,
        "occurred_at": record.message.occurred_at,
        "value": record.message.value.decode(errors="replace"),
    }
    for name, value in fields.items():
        text = "-" if value is None else printable(str(value), TEXT_CHARS_MAX)
        say(f"{name.replace('_', ' '):<15} {text}")
    say("stacktrace")
    for line in letter.stacktrace.splitlines():
        say(f"    {printable(line, TEXT_CHARS_MAX)}")
    say("")

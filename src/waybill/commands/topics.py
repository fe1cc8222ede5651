"""`waybill topics`: the kcat of one machine, of outboxes or of Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.brokers import kafka_of, read_records, summed, topic_rows
from waybill.commands.options import (  # noqa: TC001 - read by typer
    AsJson,
    Data,
    Outboxes,
    Partitions,
    PortBase,
)
from waybill.commands.output import say, show
from waybill.commands.place import run, service_databases, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Record
    from waybill.platform.settings import Settings

app = typer.Typer(
    help="What is in the log: outboxes, or Kafka with KAFKA_BROKERS.", no_args_is_help=True
)


@app.command("list")
def list_(
    data: Data = None,
    port_base: PortBase = None,
    *,
    partitions: Partitions = False,
    outboxes: Outboxes = False,
    as_json: AsJson = False,
) -> None:
    """List the topics, and how much of each is kept: in Kafka if KAFKA_BROKERS is set.

    Example: waybill topics list
    """
    settings = settings_of(data, port_base)
    kafka = kafka_of(outboxes=outboxes)
    if kafka is None:
        run(_list(settings, as_json=as_json))
    else:
        run(_list_on(kafka, settings, partitions=partitions, as_json=as_json))


async def _list_on(
    kafka: KafkaSettings, settings: Settings, *, partitions: bool, as_json: bool
) -> None:
    rows = await topic_rows(kafka, settings)
    columns: tuple[str, ...] = ("topic", "partition", "first_offset", "end_offset", "records")
    if not partitions:
        rows, columns = summed(rows, ("topic",), ("records",)), ("topic", "partitions", "records")
        rows = [{column: row[column] for column in columns} for row in rows]
    show(rows, as_json=as_json, columns=columns, none="Kafka has none of the topics yet")


async def _list(settings: Settings, *, as_json: bool) -> None:
    async with service_databases(settings) as databases:
        found = await databases.engine.topics.list_topics(databases)
    columns = ("topic", "source", "rows", "first_seq", "last_seq", "first_at", "last_at")
    rows = [{column: getattr(info, column) for column in columns} for info in found]
    show(rows, as_json=as_json, columns=columns, none="no messages yet: place an order")


@app.command()
def read(
    topic: Annotated[str, typer.Argument(help="order-events, payment-events.DLT, …")],
    data: Data = None,
    port_base: PortBase = None,
    *,
    key: Annotated[str | None, typer.Option(help="Only this key (an order's id).")] = None,
    follow: Annotated[bool, typer.Option(help="Go on with what comes; Ctrl-C ends.")] = False,
    from_end: Annotated[bool, typer.Option(help="Leave out what is there already.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="End after so many.")] = 1_000_000,
    outboxes: Outboxes = False,
    as_json: AsJson = False,
) -> None:
    """Read a topic's messages; no position is stored and nobody is held back.

    Example: waybill topics read order-events --follow
    """
    settings = settings_of(data, port_base)
    run(
        _read(
            settings,
            topic,
            key=key,
            follow=follow,
            from_end=from_end,
            limit=limit,
            kafka=kafka_of(outboxes=outboxes),
            as_json=as_json,
        )
    )


async def _read(
    settings: Settings,
    topic: str,
    *,
    key: str | None,
    follow: bool,
    from_end: bool,
    limit: int,
    kafka: KafkaSettings | None,
    as_json: bool,
) -> None:
    if kafka is not None:
        found = read_records(kafka, settings, topic, from_end=from_end, follow=follow, key=key)
        await _say(found, limit, as_json=as_json)
        return
    async with service_databases(settings) as databases:
        found = databases.engine.topics.read_topic(
            databases, topic, from_end=from_end, follow=follow, key=key
        )
        await _say(found, limit, as_json=as_json)


async def _say(records: AsyncIterator[Record], limit: int, *, as_json: bool) -> None:
    left = limit
    async for record in records:
        say(_json(record) if as_json else _line(record))
        left -= 1
        if not left:
            return


def _line(record: Record) -> str:
    from waybill.platform.logs import printable  # noqa: PLC0415 - fast help

    message = record.message
    value = printable(message.value.decode(errors="replace"), 2_000)
    return f"{record.source} {record.lane}:{record.seq} {message.type} {message.key} {value}"


def _json(record: Record) -> str:
    import msgspec  # noqa: PLC0415 - fast help

    text = record.message.value.decode(errors="replace")
    row = msgspec.to_builtins(record.message) | {
        "value": text,
        "source": record.source,
        "lane": record.lane,
        "seq": record.seq,
    }
    return msgspec.json.encode(row).decode()

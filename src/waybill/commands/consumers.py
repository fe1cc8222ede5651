"""`waybill consumers`: who reads, how far they are, and an operator's hand on their positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from waybill.commands.brokers import consumer_rows, kafka_of, summed
from waybill.commands.options import (  # noqa: TC001 - read by typer
    AsJson,
    Data,
    Outboxes,
    Partitions,
    PortBase,
)
from waybill.commands.output import say, show
from waybill.commands.place import run, service_databases, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.platform.settings import Settings

app = typer.Typer(help="Consumers and their positions.", no_args_is_help=True)

Consumer = Annotated[str, typer.Argument(help="Its id, as `waybill consumers list` shows it.")]
Source = Annotated[str, typer.Argument(help="The service whose outbox it reads.")]


@app.command("list")
def list_(
    data: Data = None,
    port_base: PortBase = None,
    *,
    partitions: Partitions = False,
    outboxes: Outboxes = False,
    as_json: AsJson = False,
) -> None:
    """List consumers, their lag, and whether they run: in Kafka if KAFKA_BROKERS is set.

    Example: waybill consumers list
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
    async with service_databases(settings) as databases:
        rows = await consumer_rows(kafka, settings, databases, databases.engine)
    columns: tuple[str, ...] = ("consumer", "topic", "partition", "position", "lag", "members")
    if not partitions:
        columns = ("consumer", "topic", "partitions", "lag", "members")
        rows = summed(rows, ("consumer", "topic"), ("lag",))
        rows = [{column: row[column] for column in columns} for row in rows]
    show(rows, as_json=as_json, columns=columns, none="Kafka has none of the topics yet")


async def _list(settings: Settings, *, as_json: bool) -> None:
    from waybill.messaging.core.consumers import ConsumerInfo  # noqa: PLC0415 - fast help

    async with service_databases(settings) as databases:
        found = await databases.engine.list_consumers(databases, databases)
    fields = ConsumerInfo.__struct_fields__
    rows = [{field: getattr(info, field) for field in fields} for info in found]
    columns = ("consumer", "source", "topics", "lag", "is_running", "seen_at", "is_silent")
    show(rows, as_json=as_json, columns=columns, none="no consumer has ever read")


@app.command()
def reset(
    consumer: Consumer,
    source: Source,
    data: Data = None,
    port_base: PortBase = None,
    *,
    to: Annotated[
        str, typer.Option(help="horizon (all that is kept), end, or a seq that counts as read.")
    ] = "horizon",
) -> None:
    """Have a consumer read an outbox again (what it applied before is left out), or skip ahead.

    Example: waybill consumers reset notification-service order-service --to horizon
    """
    run(_reset(settings_of(data, port_base), consumer, source, _place(to)))


async def _reset(
    settings: Settings, consumer: str, source: str, to: Literal["horizon", "end"] | int
) -> None:
    from waybill.messaging.adapters.postgres.connection import (  # noqa: PLC0415 - fast help
        PostgresSettings,
    )
    from waybill.platform.databases import reached, urls_of  # noqa: PLC0415 - fast help

    async with reached(settings) as server, service_databases(settings) as own:
        if (await own.engine.look_at_relay(own[_known(source, own)])).mode != "direct":
            raise ConfigurationError(
                f"{source} feeds Kafka, where a position is a group's offset: stop {consumer} and "
                "reset it with Kafka's own kafka-consumer-groups (docs/library/kafka.md#reading)"
            )
        url = urls_of(server, _short(source)).reader
        reading = await own.engine.connect(url, PostgresSettings(pool_max=1))
        try:
            await own.engine.places.reset(
                own[_known(consumer, own)],
                reading,
                consumer=consumer,
                source_name=source,
                to=to,
            )
        finally:
            await reading.close()
    say(f"{consumer} reads {source} from: {to}")


@app.command()
def forget(
    consumer: Consumer,
    source: Source,
    data: Data = None,
    port_base: PortBase = None,
    *,
    force: Annotated[bool, typer.Option(help="Even if it was seen a moment ago.")] = False,
) -> None:
    """Let an outbox's retention go on without a consumer that will not come back.

    Example: waybill consumers forget analytics order-service
    """
    run(_forget(settings_of(data, port_base), consumer, source, force=force))


async def _forget(settings: Settings, consumer: str, source: str, *, force: bool) -> None:
    async with service_databases(settings) as databases:
        known = await databases.engine.forget_consumer(
            databases[_known(source, databases)],
            consumer=consumer,
            source_name=source,
            consuming=databases.get(consumer),
            force=force,
        )
    if not known:
        raise ConfigurationError(f"{source} knows no consumer {consumer}")
    say(f"{source} no longer waits for {consumer}")


def _place(to: str) -> Literal["horizon", "end"] | int:
    match to:
        case "horizon" | "end":
            return to
        case _ if to.isdecimal():
            return int(to)
        case _:
            raise ConfigurationError(f"--to {to}: say horizon, end or a number")


def _known(name: str, services: dict[str, object] | object) -> str:
    names = sorted(services) if isinstance(services, dict) else []
    if name not in names:
        raise ConfigurationError(f"there is no service {name}: one of {', '.join(names)}")
    return name


def _short(name: str) -> str:
    return name.removesuffix("-service")

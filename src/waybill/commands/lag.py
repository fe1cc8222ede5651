"""`waybill lag`: a gate for deployments, open once every consumer keeps up."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.options import AsJson, Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import show
from waybill.commands.place import service_databases, settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.operations.lag import Lag
    from waybill.platform.settings import Settings

LOOK_SECONDS = 1.0
"""Consumers report about as often."""
RELAY = "relay"
"""Stands for the readers of what no service of the platform reads: that it is sent is all."""


def lag(
    data: Data = None,
    port_base: PortBase = None,
    *,
    rows_max: Annotated[
        int, typer.Option("--max-rows", min=0, metavar="N", help="Unread messages that still pass.")
    ] = 1_000,
    within: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Wait so long until all keep up.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Wait until every consumer runs and is hardly behind: a deployment asks before it goes on.

    With Kafka, what no relay has sent counts as unread. Exit status: 0 all keep up, 1 one does not.

    Example: waybill lag --max-rows 1000 --within 60
    """
    settings = settings_of(data, port_base)
    found, late = asyncio.run(_wait(settings, rows_max=rows_max, within=within))
    rows = [{field: getattr(each, field) for field in each.__struct_fields__} for each in found]
    columns = ("consumer", "source", "rows", "is_running")
    show(rows, as_json=as_json, columns=columns, none="no consumer has ever read")
    if late:
        sys.stderr.write("".join(f"waybill: {reason}\n" for reason in late))
        raise typer.Exit(1)


async def _wait(settings: Settings, *, rows_max: int, within: float) -> tuple[list[Lag], list[str]]:
    from waybill.messaging.adapters.kafka.settings import (  # noqa: PLC0415 - fast help
        KafkaSettings,
    )
    from waybill.messaging.core.errors import TransientError  # noqa: PLC0415 - as above
    from waybill.operations.lag import behind  # noqa: PLC0415 - as above
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above
    from waybill.platform.edge_choice import (  # noqa: PLC0415 - as above
        ACCOUNTS_SERVICE,
        with_edge,
    )

    kafka = KafkaSettings.from_environment(os.environ)
    expected = [(consumer, source) for consumer, source, _ in _readings(settings)]
    if kafka is not None and with_edge(settings, chosen(settings)).accounts:
        expected.append((RELAY, ACCOUNTS_SERVICE))
    look = partial(_on_outboxes, settings) if kafka is None else _on(kafka, settings)
    deadline = time.monotonic() + within
    while True:
        try:
            found = await look()
            late = list(behind(found, expected, rows_max=rows_max))
        except TransientError as error:
            found, late = [], [str(error)]
        if not late or time.monotonic() > deadline:
            return found, late
        await asyncio.sleep(LOOK_SECONDS)


def _readings(settings: Settings) -> list[tuple[str, str, tuple[str, ...]]]:
    """Consumer, source and what it reads of the source's topics."""
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - fast help

    services = chosen(settings).services.values()
    return [
        (consumer.name, source.name, topics)
        for consumer in services
        for source in services
        if (topics := consumer.reads_of(source))
    ]


async def _on_outboxes(settings: Settings) -> list[Lag]:
    from waybill.operations.lag import Lag  # noqa: PLC0415 - as above

    async with service_databases(settings) as databases:
        found = await databases.engine.list_consumers(databases, databases)
    return [
        Lag(
            consumer=info.consumer,
            source=info.source,
            rows=info.lag,
            is_running=bool(info.is_running) and not info.is_silent,
        )
        for info in found
    ]


def _on(kafka: KafkaSettings, settings: Settings) -> Callable[[], Awaitable[list[Lag]]]:
    """A look at the brokers, with clients that are opened once."""
    from waybill.messaging.adapters.kafka.group_lag import (  # noqa: PLC0415 - fast help
        GroupLag,
        GroupMembers,
    )
    from waybill.operations.lag import Lag  # noqa: PLC0415 - as above

    members = GroupMembers(kafka, [consumer for consumer, _, _ in _readings(settings)])
    lags = {
        (consumer, source): GroupLag(kafka, consumer, topics, time.monotonic)
        for consumer, source, topics in _readings(settings)
    }

    async def look() -> list[Lag]:
        async with service_databases(settings, with_accounts=True) as databases:
            status = databases.engine.look_at_relay
            unsent = {name: (await status(each)).lag for name, each in databases.items()}
        running, found = await members.look(), []
        for (consumer, source), group in lags.items():
            partitions = await group.look()
            unread = sum(each.records for each in partitions.values())
            found.append(
                Lag(
                    consumer=consumer,
                    source=source,
                    rows=unread + unsent[source] if partitions else None,
                    is_running=running[consumer] > 0,
                )
            )
        read = {source for _, source in lags}
        found += [
            Lag(consumer=RELAY, source=source, rows=rows, is_running=True)
            for source, rows in unsent.items()
            if source not in read
        ]
        return found

    return look

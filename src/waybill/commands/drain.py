"""`waybill drain`: the step between direct reading and Kafka, in either direction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.options import Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say
from waybill.commands.place import run, service_databases, settings_of

if TYPE_CHECKING:
    from waybill.platform.settings import Settings


def drain(
    data: Data = None,
    port_base: PortBase = None,
    *,
    wait_seconds: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for those who are behind.")
    ] = 60.0,
) -> None:
    """Make the platform ready to start on Kafka, or without it: then restart it the other way.

    Example: waybill drain && waybill down && KAFKA_BROKERS=localhost:29092 waybill up --detach
    """
    run(_drain(settings_of(data, port_base), wait_seconds))


async def _drain(settings: Settings, wait_seconds: float) -> None:
    from waybill.messaging.adapters.kafka.settings import (  # noqa: PLC0415 - fast help
        KafkaSettings,
    )
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above
    from waybill.platform.databases import reached, urls_of  # noqa: PLC0415 - as above
    from waybill.platform.draining import Draining  # noqa: PLC0415 - as above
    from waybill.platform.services import plans_of  # noqa: PLC0415 - as above

    blueprint = chosen(settings)
    kafka = KafkaSettings.from_environment(os.environ)
    async with (
        reached(settings) as server,
        service_databases(settings, with_accounts=True) as databases,
    ):
        urls = {
            plan.name: urls_of(server, service).reader
            for service, plan in plans_of(blueprint).items()
        }
        draining = Draining(databases.engine, blueprint, databases, urls, kafka)
        await draining.run(wait_seconds=wait_seconds, say=say)

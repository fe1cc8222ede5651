"""`waybill relay`: how far each outbox is on its way to Kafka, and sending it once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.options import AsJson, Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say, show
from waybill.commands.place import run, service_databases, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from waybill.messaging.core.relay_status import RelayStatus
    from waybill.platform.settings import Settings

app = typer.Typer(help="The relays that carry outboxes to Kafka.", no_args_is_help=True)

Service = Annotated[str, typer.Argument(help="Whose outbox, as `waybill relay status` shows it.")]

COLUMNS = ("service", "mode", "lag", "oldest_unsent_seconds", "held", "owners", "log")
LANE_COLUMNS = ("service", "lane", "position", "last_seq", "lag", "held", "owner")


@app.command()
def status(
    data: Data = None,
    port_base: PortBase = None,
    *,
    lanes: Annotated[bool, typer.Option("--lanes", help="A line a lane.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what Kafka does not have yet, what is held, and who owns the lanes.

    Example: waybill relay status
    """
    run(_status(settings_of(data, port_base), lanes=lanes, as_json=as_json))


async def _status(settings: Settings, *, lanes: bool, as_json: bool) -> None:
    async with service_databases(settings) as databases:
        look = databases.engine.look_at_relay
        found = {name: await look(database) for name, database in databases.items()}
    if lanes:
        rows = [_lane_row(name, lane) for name, each in found.items() for lane in each.lanes]
        show(rows, as_json=as_json, columns=LANE_COLUMNS, none="no lanes")
        return
    rows = [_row(name, each) for name, each in found.items()]
    show(rows, as_json=as_json, columns=COLUMNS, none="no outboxes")


def _row(service: str, found: RelayStatus) -> dict[str, object]:
    """In direct mode there is no relay, and its lanes say nothing."""
    relayed = found.mode != "direct"
    return {
        "service": service,
        "mode": f"{found.mode}, drained" if found.is_drained else found.mode,
        "lag": found.lag if relayed else None,
        "oldest_unsent_seconds": round(found.oldest_unsent_seconds, 1) if relayed else None,
        "held": found.held,
        "owners": found.owners,
        "log": found.log,
    }


def _lane_row(service: str, lane: object) -> dict[str, object]:
    fields = ("lane", "position", "last_seq", "lag", "oldest_unsent_seconds", "held", "owner")
    return {"service": service, **{field: getattr(lane, field) for field in fields}}


@app.command()
def rewind(
    service: Service,
    data: Data = None,
    port_base: PortBase = None,
    *,
    to: Annotated[
        int | None, typer.Option(help="A seq that counts as sent. Default: all that is kept.")
    ] = None,
) -> None:
    """Send an outbox again, to the same Kafka or to another one; consumers leave out what they had.

    Example: waybill relay rewind order-service
    """
    run(_rewind(settings_of(data, port_base), service, to))


async def _rewind(settings: Settings, service: str, to: int | None) -> None:
    async with service_databases(settings) as databases:
        if service not in databases:
            raise ConfigurationError(
                f"there is no service {service}: one of {', '.join(sorted(databases))}"
            )
        positions = await databases.engine.rewind(databases[service], to)
    say(f"{service} is sent again from seq {min(positions) + 1}")

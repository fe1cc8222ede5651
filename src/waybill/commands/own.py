"""`waybill provision`, `migrate` and `env`: PostgreSQL servers of one's own, and containers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.options import ChosenBlueprint, Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say
from waybill.commands.place import run, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.platform.own_databases import OwnDatabases

Services = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SERVICE]...",
        help="order, payment, inventory, … Default: all of the blueprint.",
    ),
]


def provision(
    services: Services = None,
    data: Data = None,
    port_base: PortBase = None,
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="Only write the script, for psql and an administrator.")
    ] = False,
) -> None:
    """Make roles, databases and tables on the servers that the environment names.

    POSTGRES_USER and POSTGRES_PASSWORD may make roles and databases; a superuser is not needed.
    On MariaDB or MySQL (mysql:// URLs) it is MYSQL_USER and MYSQL_PASSWORD.
    It may be repeated: passwords and rights are set anew, data stay.

    Example: waybill provision
    """
    from waybill.platform.server_steps import script  # noqa: PLC0415 - fast help

    chosen = _chosen(services, data, port_base)
    if sql:
        say("\n".join(script(chosen)))
        return
    from waybill.platform.own_server import (  # noqa: PLC0415 - fast help
        Administrator,
        provision_server,
    )

    own = _own(data, port_base)
    administrator = Administrator.from_environment(os.environ, on_mysql=own.on_mysql)
    run(provision_server(own, administrator, _there(own, services, chosen), progress=say))


def migrate(services: Services = None, data: Data = None, port_base: PortBase = None) -> None:
    """Bring the tables to this release, as each database's owner; a service's start does it, too.

    Example: waybill migrate order
    """
    own = _own(data, port_base)
    chosen = _chosen(services, data, port_base)
    run(_migrate(own, _there(own, services, chosen)))


def env(
    data: Data = None,
    port_base: PortBase = None,
    *,
    blueprint: ChosenBlueprint = None,
    file: Annotated[Path, typer.Option(metavar="FILE", help="Where; it must not exist.")] = Path(
        ".env"
    ),
) -> None:
    """Write the variables of compose.yaml, with random passwords, for your eyes only.

    WAYBILL_BLUEPRINT and COMPOSE_PROFILES say which containers `docker compose up` starts.

    Example: waybill env --file .env
    """
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - fast help
    from waybill.platform.env_file import write  # noqa: PLC0415 - as above

    write(file, chosen(settings_of(data, port_base, blueprint=blueprint)).name)
    say(f"written: {file} (it holds passwords: keep it, and keep it secret)")


async def _migrate(own: OwnDatabases, services: Sequence[str]) -> None:
    from waybill.platform.own_server import upgrade  # noqa: PLC0415 - fast help

    for service in services:
        await upgrade(own, service)
        say(f"{service}: its tables are up to date")


def _own(data: Path | None, port_base: int | None) -> OwnDatabases:
    from waybill.platform.databases import own_databases  # noqa: PLC0415 - fast help
    from waybill.platform.own_databases import HOST  # noqa: PLC0415 - as above

    settings_of(data, port_base)  # a misspelt variable is told
    own = own_databases()
    if own is None:
        raise ConfigurationError(
            f"no database of yours is named: set {HOST}, or WAYBILL_ORDER_DATABASE_URL and so on; "
            "the platform's own PostgreSQL needs neither command"
        )
    return own


def _chosen(
    services: Sequence[str] | None, data: Path | None, port_base: int | None
) -> tuple[str, ...]:
    from waybill.platform.databases import databases_with_edge  # noqa: PLC0415 - fast help
    from waybill.platform.own_databases import KNOWN  # noqa: PLC0415 - as above

    unknown = [service for service in services or () if service not in KNOWN]
    if unknown:
        raise ConfigurationError(
            f"there is no service {', '.join(unknown)}: one of {', '.join(KNOWN)}"
        )
    return tuple(services or databases_with_edge(settings_of(data, port_base)))


def _there(
    own: OwnDatabases, services: Sequence[str] | None, chosen: Sequence[str]
) -> tuple[str, ...]:
    """Of those that nobody named, only what can be on this kind of server."""
    return tuple(each for each in chosen if services or each in own.services)

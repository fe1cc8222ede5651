"""`waybill customers`: what is kept of one customer, and its erasure."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from waybill.commands.options import Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say
from waybill.commands.place import run, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from waybill.messaging.core.ports import Database
    from waybill.platform.databases import Server
    from waybill.platform.settings import Settings

app = typer.Typer(help="What is kept of a customer, and its erasure.", no_args_is_help=True)

Customer = Annotated[
    str, typer.Argument(help="Their id, the address of their account, or their user id.")
]


@app.command()
def export(customer: Customer, data: Data = None, port_base: PortBase = None) -> None:
    """Print everything that is kept of a customer, as JSON. It is personal: keep it so.

    Example: waybill customers export ada@example.org
    """
    run(_export(settings_of(data, port_base), customer))


@app.command()
def erase(
    customer: Customer,
    data: Data = None,
    port_base: PortBase = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a customer: contacts, account, addresses, texts. Amounts, stock and ids stay.

    Their orders must have ended. Topics on Kafka keep what was sent until their retention ends,
    and so do backups. It may be repeated.

    Example: waybill customers erase ada@example.org
    """
    if not yes:
        typer.confirm(f"Erase {customer} for good?", abort=True)
    run(_erase(settings_of(data, port_base), customer))


async def _export(settings: Settings, asked: str) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415 - fast help

    from waybill.operations.customers.export import exported  # noqa: PLC0415 - as above
    from waybill.operations.customers.identity import found  # noqa: PLC0415 - as above
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above

    blueprint = chosen(settings)
    async with _databases(settings, "service") as databases:
        customer = await found(asked, databases)
        now = datetime.now(UTC)  # noqa: TID251 - a command's clock
        say(await exported(databases, customer, blueprint.order_prefix, now))


async def _erase(settings: Settings, asked: str) -> None:
    from waybill.operations.customers.erase import erased, known_of  # noqa: PLC0415 - fast help
    from waybill.operations.customers.identity import found  # noqa: PLC0415 - as above
    from waybill.operations.customers.under_way import (  # noqa: PLC0415 - as above
        refuse_sent_by_a_connector,
        refuse_under_way,
    )
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above

    blueprint = chosen(settings)
    # Services may not change what they once wrote; only the tables' owners may.
    async with _databases(settings, "owner") as databases:
        customer = await found(asked, databases)
        await refuse_under_way(databases, customer, blueprint.order_prefix)
        personal = await known_of(databases, customer, blueprint)
        await refuse_sent_by_a_connector(databases, customer, personal, blueprint)
        counts = await erased(databases, customer, personal, blueprint)
    for name, count in counts.items():
        say(f"{name}: {count}")
    say(f"erased, of {len(customer.orders)} orders" if counts else "there was nothing to erase")


@asynccontextmanager
async def _databases(
    settings: Settings, role: Literal["service", "owner"]
) -> AsyncIterator[dict[str, Database]]:
    """The databases by service, as this role of each."""
    from waybill.messaging.adapters.postgres.connection import (  # noqa: PLC0415 - fast help
        PostgresDatabase,
        PostgresSettings,
    )
    from waybill.platform.databases import reached  # noqa: PLC0415 - as above

    limits = PostgresSettings(pool_max=1, application_name="waybill operator")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(reached(settings))
        opened: dict[str, Database] = {}
        for service, url in _urls(settings, server, role):
            database = await PostgresDatabase.connect(url, limits)
            stack.push_async_callback(database.close)
            opened[service] = database
        yield opened


def _urls(
    settings: Settings, server: Server, role: Literal["service", "owner"]
) -> Iterator[tuple[str, str]]:
    from waybill.messaging.core.database_url import is_mysql  # noqa: PLC0415 - fast help
    from waybill.platform.databases import databases_with_edge, urls_of  # noqa: PLC0415 - as above
    from waybill.platform.edge_choice import ACCOUNTS  # noqa: PLC0415 - as above
    from waybill.platform.own_databases import OwnDatabases  # noqa: PLC0415 - as above

    names = databases_with_edge(settings)
    for service in names:
        url = getattr(urls_of(server, service), role)
        if is_mysql(url):
            raise ConfigurationError("this command needs PostgreSQL")
        yield service, url
    if ACCOUNTS in names:
        return
    # They are off now; data of before may still hold some.
    try:
        url = getattr(urls_of(server, ACCOUNTS), role)
    except ConfigurationError as error:
        if isinstance(server, OwnDatabases):  # on our own server it means that there are none
            sys.stderr.write(f"waybill: accounts are not looked at: {error}\n")
        return
    yield ACCOUNTS, url

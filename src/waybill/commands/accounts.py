"""`waybill accounts`: who has one, and what they may do. Registering makes customers only."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.options import AsJson, Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say, show
from waybill.commands.place import run, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.ports import Database
    from waybill.platform.settings import Settings

app = typer.Typer(help="Accounts and their roles.", no_args_is_help=True)


@app.command("list")
def list_(
    data: Data = None,
    port_base: PortBase = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="The newest of them.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List accounts, newest first.

    Example: waybill accounts list
    """
    run(_list(settings_of(data, port_base), limit, as_json=as_json))


@app.command()
def roles(
    email: Annotated[str, typer.Argument(help="The address that they registered with.")],
    given: Annotated[
        list[str],
        typer.Argument(help="customer, operator, admin: all that they have from now on."),
    ],
    data: Data = None,
    port_base: PortBase = None,
) -> None:
    """Give an account its roles; they stand in its next access token, in 15 minutes at most.

    Example: waybill accounts roles ada@example.org customer operator
    """
    run(_roles(settings_of(data, port_base), email, given))


async def _list(settings: Settings, limit: int, *, as_json: bool) -> None:
    from waybill.edge.accounts import store  # noqa: PLC0415 - fast help

    async with _accounts(settings) as database:
        found = await store.newest(database, limit)
    columns = ("id", "email", "roles", "created_at")
    rows = [{column: getattr(account, column) for column in columns} for account in found]
    show(rows, as_json=as_json, columns=columns, none="no accounts")


async def _roles(settings: Settings, email: str, given: Sequence[str]) -> None:
    from waybill.commerce.http.caller import ROLES  # noqa: PLC0415 - fast help
    from waybill.edge.accounts import store  # noqa: PLC0415 - fast help
    from waybill.edge.accounts.domain import normal_email  # noqa: PLC0415 - fast help

    if unknown := set(given) - set(ROLES):
        raise ConfigurationError(
            f"there is no role {', '.join(sorted(unknown))}: give some of {', '.join(ROLES)}"
        )
    async with _accounts(settings) as database, database.transaction() as transaction:
        changed = await store.give(transaction, normal_email(email) or "", sorted(set(given)))
    if not changed:
        raise ConfigurationError(f"{email} has no account: register it first")
    say(f"{email}: {', '.join(sorted(set(given)))}")


@asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[Database]:
    """The accounts' database, as its service role."""
    from waybill.edge.accounts.service import DATABASE  # noqa: PLC0415 - fast help
    from waybill.messaging.adapters.postgres.connection import (  # noqa: PLC0415 - fast help
        PostgresDatabase,
        PostgresSettings,
    )
    from waybill.platform.databases import reached, urls_of  # noqa: PLC0415 - fast help

    limits = PostgresSettings(pool_max=2, application_name="waybill operator")
    async with reached(settings) as server:
        url = urls_of(server, DATABASE).service
        database = await PostgresDatabase.connect(url, limits)
        try:
            yield database
        finally:
            await database.close()

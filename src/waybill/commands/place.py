"""Settings of one command line, and databases opened for its duration."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from waybill.messaging.core.ports import Database
    from waybill.messaging.engines.port import Engine


_before: ContextVar[tuple[Path | None, int | None]] = ContextVar("before", default=(None, None))


def remember(data: Path | None, port_base: int | None) -> None:
    """What stood before the command's name."""
    _before.set((data, port_base))


def given(data: Path | None, port_base: int | None) -> tuple[Path | None, int | None]:
    """What the command line says; None where it says nothing. After the command wins."""
    data_before, port_before = _before.get()
    return (
        data if data is not None else data_before,
        port_base if port_base is not None else port_before,
    )


def settings_of(
    data: Path | None,
    port_base: int | None,
    *,
    blueprint: str | None = None,
    insecure: bool = False,
) -> Settings:
    """Options after the command win over those before it, and both over the environment."""
    data, port_base = given(data, port_base)
    return Settings.load(
        data_directory=data,
        port_base=port_base,
        blueprint=blueprint,
        insecure=insecure or None,
    )


class Opened(dict[str, "Database"]):
    """Databases by service; `engine` is what all of them are on."""

    engine: Engine


@asynccontextmanager
async def service_databases(
    settings: Settings, *, with_accounts: bool = False
) -> AsyncIterator[Opened]:
    """Each service's database by its documented name, as its service role.

    The platform may run or not: without it our PostgreSQL is started for as long as this lasts.
    `with_accounts`: also that of the accounts service, where it runs.
    """
    from waybill.messaging.adapters.postgres.connection import (  # noqa: PLC0415 - help stays fast
        PostgresSettings,
    )
    from waybill.messaging.engines import engine_of  # noqa: PLC0415 - as above
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above
    from waybill.platform.databases import reached, urls_of  # noqa: PLC0415 - as above
    from waybill.platform.edge_choice import (  # noqa: PLC0415 - as above
        ACCOUNTS,
        ACCOUNTS_SERVICE,
        with_edge,
    )
    from waybill.platform.services import plans_of  # noqa: PLC0415 - as above

    blueprint = chosen(settings)
    names = {service: plan.name for service, plan in plans_of(blueprint).items()}
    if with_accounts and with_edge(settings, blueprint).accounts:
        names[ACCOUNTS] = ACCOUNTS_SERVICE
    limits = PostgresSettings(pool_max=2, application_name="waybill operator")
    async with reached(settings) as server:
        opened = Opened()
        try:
            for service, name in names.items():
                url = urls_of(server, service).service
                opened.engine = engine_of(url)
                opened[name] = await opened.engine.connect(url, limits)
            yield opened
        finally:
            for database in opened.values():
                await database.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command's body."""
    asyncio.run(work)

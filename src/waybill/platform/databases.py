"""The databases of the platform by service and role, whoever runs the server they are on."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from waybill.platform.own_databases import SERVICES, OwnDatabases, database_of, roles_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.blueprints.definition import Blueprint
    from waybill.platform.settings import Settings


class Server(Protocol):
    """The embedded PostgreSQL, or servers of the user's."""

    def url(self, database: str, role: str) -> str:
        """A URL for asyncpg, password included. Raises ConfigurationError if it is not known."""


@dataclass(frozen=True)
class ServiceUrls:
    """How to reach one service's database, by what the caller may do there.

    Each raises ConfigurationError if that role has no password, or before `provision` ever ran:
    a process needs those only that it uses.
    """

    server: Server
    name: str

    @property
    def owner(self) -> str:
        """Migrations and partition upkeep."""
        return self.server.url(database_of(self.name), roles_of(self.name)[0])

    @property
    def service(self) -> str:
        """Run time."""
        return self.server.url(database_of(self.name), roles_of(self.name)[1])

    @property
    def reader(self) -> str:
        """What another service's consumer may see: the outbox (protocol D3)."""
        return self.server.url(database_of(self.name), roles_of(self.name)[2])

    @property
    def auditor(self) -> str:
        """SELECT, nothing else: `waybill audit`."""
        return self.server.url(database_of(self.name), roles_of(self.name)[3])


def urls_of(server: Server, service: str) -> ServiceUrls:
    """The URLs of one service's roles."""
    return ServiceUrls(server, service)


def databases_with_edge(settings: Settings) -> tuple[str, ...]:
    """The databases of the platform that these settings run, its accounts' too."""
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - not needed by whoever has one
    from waybill.platform.edge_choice import ACCOUNTS, with_edge  # noqa: PLC0415 - as above

    blueprint = chosen(settings)
    also = (ACCOUNTS,) if with_edge(settings, blueprint).accounts else ()
    return (*databases_of(blueprint), *also)


def databases_of(blueprint: Blueprint) -> tuple[str, ...]:
    """The databases of a blueprint's own services."""
    names = [service.database for service in blueprint.services.values()]
    return (*SERVICES, *(name for name in names if name not in SERVICES))


def own_databases() -> OwnDatabases | None:
    """What the environment names; None: the platform runs its own PostgreSQL."""
    return OwnDatabases.from_environment(os.environ)


@asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[Server]:
    """The databases for an operator's command, whether the platform runs or not."""
    from waybill.platform.embedded import borrowed  # noqa: PLC0415 - not needed on own servers

    own = own_databases()
    if own is not None:
        yield own
        return
    async with borrowed(settings.data_directory) as server:
        yield server

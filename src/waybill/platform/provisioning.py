"""Databases, roles, rights and schemas of every service, on our server or on yours; repeatable.

Each service has a database of its own and four roles that can connect to no other: an owner
(migrations, partition upkeep), a service role (run time: no DDL), a reader role (what another
service's consumer may see: the outbox) and an auditor (SELECT, nothing else). Once all is up to
date, a start costs a few statements.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import asyncpg

from waybill.commerce.migrations import migrate as commerce
from waybill.messaging.adapters.postgres import migrate as messaging
from waybill.messaging.adapters.postgres import roles
from waybill.messaging.adapters.postgres.schema import HEAD_REVISION
from waybill.platform.databases import ServiceUrls, urls_of
from waybill.platform.own_databases import SERVICES, database_of, roles_of
from waybill.platform.server_steps import OWNER_SEES, SESSION_LIMITS, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from waybill.platform.databases import Server
    from waybill.platform.embedded import EmbeddedPostgres

__all__ = [
    "SERVICES",
    "SIMULATOR",
    "ServiceUrls",
    "database_of",
    "provision",
    "roles_of",
    "urls_of",
]

SIMULATOR: Final = "provider"
"""The payment simulator: a ledger of its own, apart from the payment books, and no messages."""

SERVICES_TOKEN: Final = "services_token"  # noqa: S105 - its name, not itself
"""Among the secrets of our server: what our services show one another, once tokens are on."""

_LOCK: Final = 1_462_846_540
"""Advisory lock in the database `postgres`: one process provisions, the others wait."""


async def provision(
    server: EmbeddedPostgres,
    services: Sequence[str] = SERVICES,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Bring our server to this release's databases, roles, rights and schemas of these services.

    Raises ConfigurationError in one line if a newer release wrote any of the schemas.
    """
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        server.secrets.ensure([SERVICES_TOKEN])
        if await _is_current(connection, server, services) and await _schemas_are_current(
            server, services
        ):
            return
        progress("preparing the databases")
        await _lock_the_servers_own(connection)
        for service in services:
            await _make(connection, server, service)
            await migrate(server, service)
        await _remember(connection, services)
    finally:
        await connection.close()


async def provision_optional(server: EmbeddedPostgres, service: str) -> None:
    """The same of a service that stands beside the blueprint's; asked for at every start."""
    server.secrets.ensure(list(roles_of(service)))
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await _lock_the_servers_own(connection)
        await _make(connection, server, service)
        await migrate(server, service)
    finally:
        await connection.close()


async def migrate(server: Server, service: str) -> None:
    """The tables and rights of one service, as their owner.

    Several processes may do it at once; messaging comes first: the documented views read its
    tables. Raises ConfigurationError for tables of a newer release.
    """
    url = urls_of(server, service).owner
    _, run_time, reader, auditor = roles_of(service)
    if service != SIMULATOR:
        await messaging.upgrade(url)
    await commerce.upgrade(url, service, service_role=run_time)
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", messaging.MIGRATION_LOCK)
            if service != SIMULATOR:
                await roles.grant_access(connection, run_time, reader)
            await connection.execute(";".join(_auditor_grants(service, auditor)))
    finally:
        await connection.close()


def _auditor_grants(service: str, role: str) -> Iterator[str]:
    """Repeated after every migration: a grant on all tables is one on those that there are."""
    schemas = "app" if service == SIMULATOR else "app, messaging"
    yield f"GRANT USAGE ON SCHEMA {schemas} TO {role}"
    for kind in ("TABLES", "SEQUENCES"):
        yield f"GRANT SELECT ON ALL {kind} IN SCHEMA {schemas} TO {role}"


async def _is_current(
    connection: asyncpg.Connection, server: EmbeddedPostgres, services: Sequence[str]
) -> bool:
    """Whether roles, databases and rights are what this release makes."""
    new = server.secrets.ensure([role for service in services for role in roles_of(service)])
    known = await connection.fetchval(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE datname = current_database()"
    )
    return not new and known == _fingerprint(services)


async def _schemas_are_current(server: EmbeddedPostgres, services: Sequence[str]) -> bool:
    """Asked of each database, since one may have been restored alone."""
    owners = [(service, urls_of(server, service).owner) for service in services]
    states = await asyncio.gather(
        *(messaging.schema_state(url) for service, url in owners if service != SIMULATOR),
        *(commerce.schema_state(url, service) for service, url in owners),
    )
    return set(states) == {"current"}


async def _lock_the_servers_own(connection: asyncpg.Connection) -> None:
    for database in ("postgres", "template1"):
        await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")


async def _make(connection: asyncpg.Connection, server: EmbeddedPostgres, service: str) -> None:
    """Also sets the passwords anew, so that a restored secrets file counts."""

    def password(role: str) -> str:
        return f"'{server.secrets.password(role)}'"  # URL-safe letters: needs no quoting

    for step in steps(service, password):
        if not step.unless or not await connection.fetch(step.unless):
            await connection.execute(step.statement)


async def _remember(connection: asyncpg.Connection, services: Sequence[str]) -> None:
    await connection.execute(f"COMMENT ON DATABASE postgres IS '{_fingerprint(services)}'")


def _fingerprint(services: Sequence[str]) -> str:
    """Changes whenever a release makes different roles, rights or schemas."""
    return hashlib.sha256("\n".join(_ingredients(services)).encode()).hexdigest()


def _ingredients(services: Sequence[str]) -> Iterator[str]:
    yield HEAD_REVISION
    yield OWNER_SEES
    yield from roles.grants("service", "reader")
    yield from _auditor_grants("service", "auditor")
    yield from (f"{name} {value}" for name, value in SESSION_LIMITS.items())
    for service in services:
        yield f"{service} {commerce.REVISIONS[service][-1]}"

"""Databases, roles, rights and schemas of every service on one PostgreSQL; safe to repeat.

Each service has a database of its own and four roles that can connect to no other: an owner
(migrations, partition upkeep), a service role (run time: no DDL), a reader role (what another
service's consumer may see: the outbox) and an auditor (SELECT, nothing else). Once all is up to
date, a start costs a few statements.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from waybill.commerce.migrations import migrate as commerce
from waybill.messaging.adapters.postgres import migrate as messaging
from waybill.messaging.adapters.postgres import roles
from waybill.messaging.adapters.postgres.schema import HEAD_REVISION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from waybill.platform.embedded import EmbeddedPostgres

SERVICES: Final = tuple(commerce.REVISIONS)
SIMULATOR: Final = "provider"
"""The payment simulator: a ledger of its own, apart from the payment books, and no messages."""

_LOCK: Final = 1_462_846_540
"""Advisory lock in the database `postgres`: one process provisions, the others wait."""

_OWNER_SEES: Final = "pg_read_all_stats"

_SESSION_LIMITS: Final = {
    "idle_in_transaction_session_timeout": "60s",
    "statement_timeout": "30s",
}
"""Of all but owners: a client that hangs must not hold a service for ever."""


@dataclass(frozen=True)
class ServiceUrls:
    """How to reach one service's database, by what the caller may do there."""

    owner: str
    service: str
    reader: str
    auditor: str


def database_of(service: str) -> str:
    """The documented name of the service's database."""
    return f"{service}db"


def roles_of(service: str) -> tuple[str, str, str, str]:
    """Its owner, service, reader and auditor role."""
    return f"{service}_owner", f"{service}_service", f"{service}_reader", f"{service}_auditor"


def urls_of(server: EmbeddedPostgres, service: str) -> ServiceUrls:
    """The URLs of one service's roles. Raises ConfigurationError before `provision` ever ran."""
    database = database_of(service)
    owner, run_time, reader, auditor = roles_of(service)
    return ServiceUrls(
        owner=server.url(database, owner),
        service=server.url(database, run_time),
        reader=server.url(database, reader),
        auditor=server.url(database, auditor),
    )


async def provision(
    server: EmbeddedPostgres, *, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Bring the server to this release's databases, roles, rights and schemas.

    Raises ConfigurationError in one line if a newer release wrote any of the schemas.
    """
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        if await _is_current(connection, server) and await _schemas_are_current(server):
            return
        progress("preparing the databases")
        await _make_roles(connection, server)
        for service in SERVICES:
            await _make_database(connection, service)
            await _migrate(server, service)
        await _remember(connection)
    finally:
        await connection.close()


async def _is_current(connection: asyncpg.Connection, server: EmbeddedPostgres) -> bool:
    """Whether roles, databases and rights are what this release makes."""
    new = server.secrets.ensure([role for service in SERVICES for role in roles_of(service)])
    known = await connection.fetchval(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE datname = current_database()"
    )
    return not new and known == _fingerprint()


async def _schemas_are_current(server: EmbeddedPostgres) -> bool:
    """Asked of each database, since one may have been restored alone."""
    owners = [(service, urls_of(server, service).owner) for service in SERVICES]
    states = await asyncio.gather(
        *(messaging.schema_state(url) for service, url in owners if service != SIMULATOR),
        *(commerce.schema_state(url, service) for service, url in owners),
    )
    return set(states) == {"current"}


async def _make_roles(connection: asyncpg.Connection, server: EmbeddedPostgres) -> None:
    """Also sets the passwords anew, so that a restored secrets file counts."""
    existing = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    for service in SERVICES:
        owner, *others = roles_of(service)
        for role in (owner, *others):
            act = "ALTER" if role in existing else "CREATE"
            password = server.secrets.password(role)  # URL-safe letters: needs no quoting
            await connection.execute(f"{act} ROLE {role} LOGIN PASSWORD '{password}'")
        for role in others:
            for name, value in _SESSION_LIMITS.items():
                await connection.execute(f"ALTER ROLE {role} SET {name} = '{value}'")
        # Upkeep alarms old transactions, whosoever they are (protocol E4).
        await connection.execute(f"GRANT {_OWNER_SEES} TO {owner}")
    for database in ("postgres", "template1"):
        await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")


async def _make_database(connection: asyncpg.Connection, service: str) -> None:
    database = database_of(service)
    owner, *others = roles_of(service)
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
        await connection.execute(f"CREATE DATABASE {database} OWNER {owner}")
    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {', '.join(others)}")


async def _migrate(server: EmbeddedPostgres, service: str) -> None:
    """Messaging first: the documented views read its tables."""
    url = urls_of(server, service).owner
    _, run_time, reader, auditor = roles_of(service)
    if service != SIMULATOR:
        await messaging.upgrade(url)
        connection = await asyncpg.connect(url)
        try:
            await roles.grant_access(connection, run_time, reader)
        finally:
            await connection.close()
    await commerce.upgrade(url, service, service_role=run_time)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(";".join(_auditor_grants(service, auditor)))
    finally:
        await connection.close()


def _auditor_grants(service: str, role: str) -> Iterator[str]:
    """Repeated after every migration: a grant on all tables is one on those that there are."""
    schemas = "app" if service == SIMULATOR else "app, messaging"
    yield f"GRANT USAGE ON SCHEMA {schemas} TO {role}"
    for kind in ("TABLES", "SEQUENCES"):
        yield f"GRANT SELECT ON ALL {kind} IN SCHEMA {schemas} TO {role}"


async def _remember(connection: asyncpg.Connection) -> None:
    await connection.execute(f"COMMENT ON DATABASE postgres IS '{_fingerprint()}'")


def _fingerprint() -> str:
    """Changes whenever a release makes different roles, rights or schemas."""
    return hashlib.sha256("\n".join(_ingredients()).encode()).hexdigest()


def _ingredients() -> Iterator[str]:
    yield HEAD_REVISION
    yield _OWNER_SEES
    yield from roles.grants("service", "reader")
    yield from _auditor_grants("service", "auditor")
    yield from (f"{name} {value}" for name, value in _SESSION_LIMITS.items())
    for service, revisions in commerce.REVISIONS.items():
        yield f"{service} {revisions[-1]}"

"""Brings a service's own tables to this release's revision, and tells which one they have.

Runs as the tables' owner, under a lock; on PostgreSQL in one transaction: a failed upgrade leaves
nothing. On MariaDB and MySQL each CREATE commits: run it again after a failure. Messaging's tables
come first, since the documented views read them.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from waybill.messaging.adapters.postgres.errors import translated
from waybill.messaging.adapters.postgres.migrate import SchemaState, run_migrations
from waybill.messaging.core.database_url import is_mysql
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

REVISIONS = {
    "order": tuple(f"order_{number:04}" for number in range(1, 9)),
    "inventory": ("inventory_0001", "inventory_0002", "inventory_0003"),
    "payment": ("payment_0001", "payment_0002", "payment_0003"),
    "notification": ("notification_0001", "notification_0002", "notification_0003"),
    "provider": ("provider_0001",),
    "orchestrator": ("orchestrator_0001", "orchestrator_0002"),
}
"""Every revision that this release knows of each service, oldest first."""

OPTIONAL_REVISIONS = {"accounts": ("accounts_0001",)}
"""The same of services that stand beside a blueprint's, where they are wanted."""

MYSQL_REVISIONS = {
    "order": ("order_mysql_0001", "order_mysql_0002"),
    "inventory": ("inventory_mysql_0001",),
    "notification": ("notification_mysql_0001",),
}
"""The same on MariaDB and MySQL: of the services that run there."""

_MYSQL_THERE = """
SELECT count(*) FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'app_schema_version'
"""
_FOLDER = Path(__file__).parent
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


async def schema_state(url: str, service: str) -> SchemaState:
    """What revision the tables at `url` have, seen from this release. Needs no Alembic."""
    known = known_revisions(url, service)
    if is_mysql(url):
        revision = await _mysql_revision(url)
    else:
        revision = await _revision(url)
    if revision is None:
        return "absent"
    if revision == known[-1]:
        return "current"
    return "older" if revision in known else "newer"


async def _revision(url: str) -> str | None:
    with translated():
        connection = await asyncpg.connect(url)
        try:
            if await connection.fetchval("SELECT to_regclass('app.schema_version')") is None:
                return None
            found: str | None = await connection.fetchval(
                "SELECT version_num FROM app.schema_version"
            )
        finally:
            await connection.close()
    return found


async def _mysql_revision(url: str) -> str | None:
    # Needs the extra `mysql`.
    from waybill.messaging.adapters.mysql.migrate import fetch_once  # noqa: PLC0415

    if not (await fetch_once(url, _MYSQL_THERE))[0][0]:
        return None
    rows = await fetch_once(url, "SELECT version_num FROM app_schema_version")
    return rows[0][0] if rows else None


async def upgrade(url: str, service: str, *, service_role: str | None = None) -> None:
    """Create or upgrade `service`'s tables as their owner; nothing when current; repeatable.

    `service_role` is the run-time role that gets its rights. Raises ConfigurationError for
    tables that a newer release wrote.
    """
    if service_role is not None and not _ROLE.fullmatch(service_role):
        raise ConfigurationError(f"role {service_role!r} must be a plain lower-case name")
    match await schema_state(url, service):
        case "current":
            return
        case "newer":
            message = (
                f"the {service} tables are newer than this waybill: install the version that "
                "wrote them, or a later one"
            )
            raise ConfigurationError(message)
        case "absent" | "older":
            await _upgrade(url, service, service_role)


async def _upgrade(url: str, service: str, service_role: str | None) -> None:
    if not is_mysql(url):
        run = partial(_run, service=service, service_role=service_role)
        await run_migrations(url, "app", run)
        return
    # Needs the extra `mysql`.
    from waybill.messaging.adapters.mysql import migrate as mysql  # noqa: PLC0415

    def run_there(connection: Connection, collation: str) -> None:
        given = {"service_role": service_role, "collation": collation}
        _command(connection, _FOLDER / "mysql", service, given)

    await mysql.run_migrations(url, run_there)


def known_revisions(url: str, service: str) -> tuple[str, ...]:
    """Every revision of a service's tables on this technology. Raises ConfigurationError."""
    known = REVISIONS | OPTIONAL_REVISIONS
    if service not in known:
        message = f"unknown service {service!r}; one of {', '.join(known)}"
        raise ConfigurationError(message)
    if not is_mysql(url):
        return known[service]
    if service not in MYSQL_REVISIONS:
        message = (
            f"the {service} service needs PostgreSQL: on MariaDB and MySQL run the blueprints "
            f"whose services are among {', '.join(MYSQL_REVISIONS)}"
        )
        raise ConfigurationError(message)
    return MYSQL_REVISIONS[service]


def _run(
    connection: Connection, *, service: str, service_role: str | None, revision: str = "head"
) -> None:
    _command(connection, _FOLDER, service, {"service_role": service_role}, revision)


def _command(
    connection: Connection,
    folder: Path,
    service: str,
    given: Mapping[str, object],
    revision: str = "head",
) -> None:
    from alembic import command  # noqa: PLC0415 - costs start-up time
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config(attributes={"connection": connection, **given})
    for option, path in (("script_location", folder), ("version_locations", folder / service)):
        config.set_main_option(option, str(path).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    command.upgrade(config, revision)

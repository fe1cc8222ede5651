"""Brings a service's own tables to this release's revision, and tells which one they have.

Runs as the schema's owner, under a lock, in one transaction: a failed upgrade leaves nothing. The
messaging schema comes first, since the documented views read it.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from waybill.messaging.adapters.postgres.errors import translated
from waybill.messaging.adapters.postgres.migrate import SchemaState, run_migrations
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISIONS = {
    "order": ("order_0001", "order_0002", "order_0003", "order_0004", "order_0005"),
    "inventory": ("inventory_0001", "inventory_0002", "inventory_0003"),
    "payment": ("payment_0001", "payment_0002"),
    "notification": ("notification_0001", "notification_0002", "notification_0003"),
    "provider": ("provider_0001",),
    "orchestrator": ("orchestrator_0001",),
}
"""Every revision that this release knows of each service, oldest first."""

OPTIONAL_REVISIONS = {"accounts": ("accounts_0001",)}
"""The same of services that stand beside a blueprint's, where they are wanted."""

_FOLDER = Path(__file__).parent
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


async def schema_state(url: str, service: str) -> SchemaState:
    """What revision the tables at `url` have, seen from this release. Needs no Alembic."""
    known = _known(service)
    with translated():
        connection = await asyncpg.connect(url)
        try:
            if await connection.fetchval("SELECT to_regclass('app.schema_version')") is None:
                return "absent"
            revision = await connection.fetchval("SELECT version_num FROM app.schema_version")
        finally:
            await connection.close()
    if revision is None:
        return "absent"
    if revision == known[-1]:
        return "current"
    return "older" if revision in known else "newer"


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
            run = partial(_run, service=service, service_role=service_role)
            await run_migrations(url, "app", run)


def _known(service: str) -> tuple[str, ...]:
    try:
        return (REVISIONS | OPTIONAL_REVISIONS)[service]
    except KeyError:
        known = ", ".join(REVISIONS | OPTIONAL_REVISIONS)
        message = f"unknown service {service!r}; one of {known}"
        raise ConfigurationError(message) from None


def _run(
    connection: Connection, *, service: str, service_role: str | None, revision: str = "head"
) -> None:
    from alembic import command  # noqa: PLC0415 - costs start-up time
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config(attributes={"connection": connection, "service_role": service_role})
    for option, path in (("script_location", _FOLDER), ("version_locations", _FOLDER / service)):
        config.set_main_option(option, str(path).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    command.upgrade(config, revision)

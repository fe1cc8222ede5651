"""Brings messaging's tables to this version's revision, and tells which one a database has.

A host application that runs Alembic itself may include these revisions instead: add the folder
`waybill/messaging/adapters/mysql/migrations/versions` to its `version_locations` (they are a branch
of their own, labelled `waybill_messaging_mysql`), give `attributes["collation"]` of Alembic's
configuration (`Server.collation`), and run `alembic upgrade heads`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import asyncmy

from waybill.messaging.adapters.mysql.connection import MysqlSettings, find_server
from waybill.messaging.adapters.mysql.errors import translate, translated
from waybill.messaging.adapters.mysql.schema import HEAD_REVISION, KNOWN_REVISIONS
from waybill.messaging.adapters.mysql.session import connect, init_command
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from waybill.messaging.core.ports import Row

SchemaState = Literal["absent", "current", "older", "newer"]

MIGRATION_SECONDS_MAX = 600
"""DDL may wait for readers, and another process may be migrating."""

_THERE = """
SELECT count(*) FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'messaging_outbox_meta'
"""
_LOCK = "SELECT GET_LOCK(concat('waybill migrates ', DATABASE()), 600)"


async def schema_state(url: str) -> SchemaState:
    """What revision the database at `url` has, seen from this version. Needs no Alembic."""
    if not (await fetch_once(url, _THERE))[0][0]:
        return "absent"
    rows = await fetch_once(url, "SELECT revision FROM messaging_outbox_meta")
    if not rows:
        return "absent"  # a migration was cut short
    revision = rows[0][0]
    if revision == HEAD_REVISION:
        return "current"
    return "older" if revision in KNOWN_REVISIONS else "newer"


async def fetch_once(url: str, statement: str) -> Sequence[Row]:
    """The rows of one statement, over a connection of its own. TransientError, and so on."""
    with translated():
        settings, variables = MysqlSettings(), {"time_zone": "'+00:00'"}
        session = await connect(
            settings.connecting(url), variables, answer_seconds=settings.answer_seconds
        )
        try:
            return await session.fetch(statement)
        finally:
            await session.close()


async def upgrade(url: str) -> None:
    """Create or upgrade the tables, as their owner. Does nothing when they are current; repeatable.

    Raises ConfigurationError for tables that a newer waybill wrote. DDL commits by itself here, so
    a failure may leave some of it; running it again goes on.
    """
    match await schema_state(url):
        case "current":
            return
        case "newer":
            message = (
                "messaging's tables are newer than this waybill: install the version that wrote "
                "them, or a later one"
            )
            raise ConfigurationError(message)
        case "absent" | "older":
            await run_migrations(url, _run)


async def run_migrations(url: str, run: Callable[[Connection, str], None]) -> None:
    """Have `run(connection, collation)` migrate as the tables' owner, one process at a time."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - costs start-up time
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - costs start-up time
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - as above

    settings = MysqlSettings(statement_timeout_seconds=MIGRATION_SECONDS_MAX)
    arguments = settings.connecting(url)
    server = await find_server(arguments, answer_seconds=settings.answer_seconds)

    async def creator() -> asyncmy.Connection:
        # SQLAlchemy reads instants itself, and decides on COMMIT itself.
        given: Mapping[str, Any] = {
            name: value for name, value in arguments.items() if name not in {"conv", "autocommit"}
        }
        return await asyncmy.connect(**given, init_command=init_command(settings.session(server)))

    engine = create_async_engine("mysql+asyncmy://", async_creator=creator, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            held = await connection.exec_driver_sql(_LOCK)
            if held.scalar_one() != 1:
                raise TransientError("another process has been migrating for ten minutes")
            await connection.run_sync(run, server.collation)
    except DBAPIError as error:
        raise translate((error.orig and error.orig.__cause__) or error) from error
    finally:
        await engine.dispose()


def _run(connection: Connection, collation: str) -> None:
    from alembic import command  # noqa: PLC0415 - costs start-up time
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config(attributes={"connection": connection, "collation": collation})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    command.upgrade(config, "heads")

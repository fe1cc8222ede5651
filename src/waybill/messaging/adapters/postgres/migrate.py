"""Brings the `messaging` schema to this version's revision, and tells which one it has.

A host application that runs Alembic itself may include these revisions instead: add the folder
`waybill/messaging/adapters/postgres/migrations/versions` to its `version_locations` (they are a
branch of their own, labelled `waybill_messaging`) and run `alembic upgrade heads`. Both ways write
the revision into `messaging.outbox_meta`, which is what `schema_state` reads.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import asyncpg

from waybill.messaging.adapters.postgres.errors import translated
from waybill.messaging.adapters.postgres.schema import (
    DEFAULT_PARTITION_ROWS,
    HEAD_REVISION,
    KNOWN_REVISIONS,
)
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.sqlstate import translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

SchemaState = Literal["absent", "current", "older", "newer"]

MIGRATION_LOCK = 1_462_846_541
"""Advisory lock under which one process migrates while the others wait."""


async def schema_state(url: str) -> SchemaState:
    """What revision the database at `url` has, seen from this version. Needs no Alembic."""
    with translated():
        connection = await asyncpg.connect(url)
        try:
            if await connection.fetchval("SELECT to_regclass('messaging.outbox_meta')") is None:
                return "absent"
            revision = await connection.fetchval("SELECT revision FROM messaging.outbox_meta")
        finally:
            await connection.close()
    if revision == HEAD_REVISION:
        return "current"
    return "older" if revision in KNOWN_REVISIONS else "newer"


async def upgrade(url: str, *, partition_rows: int = DEFAULT_PARTITION_ROWS) -> None:
    """Create or upgrade the schema, as its owner. Does nothing when it is current; repeatable.

    `partition_rows` sizes the outbox's first partitions. Raises ConfigurationError for a schema
    that a newer waybill wrote.
    """
    match await schema_state(url):
        case "current":
            return
        case "newer":
            message = (
                "schema messaging is newer than this waybill: install the version that wrote it, "
                "or a later one"
            )
            raise ConfigurationError(message)
        case "absent" | "older":
            await run_migrations(url, "messaging", partial(_run, partition_rows=partition_rows))


async def run_migrations(url: str, schema: str, run: Callable[[Connection], None]) -> None:
    """Call `run` with the owner's connection, in one transaction, while other processes wait.

    A failure leaves nothing behind. `schema` is made first if it is not there; it is trusted text.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - costs start-up time
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - costs start-up time
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - as above

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        with translated():
            async with engine.begin() as connection:
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
                await connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                await connection.run_sync(run)
    except DBAPIError as error:
        raise translate((error.orig and error.orig.__cause__) or error) from error
    finally:
        await engine.dispose()


def _run(connection: Connection, *, partition_rows: int) -> None:
    from alembic import command  # noqa: PLC0415 - costs start-up time
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config(attributes={"connection": connection, "partition_rows": partition_rows})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    command.upgrade(config, "heads")

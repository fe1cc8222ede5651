"""The messaging schema comes, stays and is recognised; so are servers that must not be used."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

from waybill.messaging.adapters.postgres import migrations
from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.migrate import schema_state, upgrade
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.schema import HEAD_REVISION
from waybill.messaging.adapters.postgres.server import Server, checked_server, refusal
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection


@pytest.fixture
def empty_database(databases: Any) -> Iterator[str]:  # noqa: ANN401 - the conftest's class
    """The URL of a database with nothing in it."""
    name = databases.copy("template0")
    yield databases.server.url(name)
    databases.drop(name)


async def test_upgrade_creates_and_is_repeatable(empty_database: str) -> None:
    """From nothing to the current schema, and a second upgrade changes nothing."""
    assert await schema_state(empty_database) == "absent"
    await upgrade(empty_database)
    assert await schema_state(empty_database) == "current"
    await upgrade(empty_database)
    assert await schema_state(empty_database) == "current"


async def test_older_schema_is_brought_up_to_date(empty_database: str) -> None:
    """Data that an earlier version left are kept; its append function is replaced."""
    await upgrade(empty_database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "DROP FUNCTION messaging.outbox_append;"
        "CREATE FUNCTION messaging.outbox_append(places integer[]) RETURNS void"
        " LANGUAGE sql AS '';"
        "UPDATE messaging.outbox_meta SET revision = 'messaging_0001';"
        "UPDATE messaging.schema_version SET version_num = 'messaging_0001'"
    )
    await connection.close()
    assert await schema_state(empty_database) == "older"
    await upgrade(empty_database)
    assert await schema_state(empty_database) == "current"
    database = await PostgresDatabase.connect(empty_database)
    async with database.transaction() as transaction:
        PostgresOutbox().append(transaction, [a_message()])
    assert len(await database.fetch("SELECT FROM messaging.outbox")) == 1
    await database.close()


async def test_processes_that_start_together_migrate_once(empty_database: str) -> None:
    """Several services that start at once end with one schema."""
    await asyncio.gather(*(upgrade(empty_database) for _ in range(3)))
    assert await schema_state(empty_database) == "current"


async def test_role_without_rights_gets_one_clear_error(
    empty_database: str, messaging_database: str
) -> None:
    """A role that may not create the schema is told what the server said."""
    other = await asyncpg.connect(messaging_database)
    await other.execute("CREATE ROLE poor")
    with pytest.raises(TransientError, match="42501"):
        await upgrade(f"{empty_database}&role=poor")
    await other.execute("DROP ROLE poor")
    await other.close()


async def test_newer_schema_is_refused_with_advice(messaging_database: str) -> None:
    """A schema that a later version wrote is left alone; the error says what to install."""
    connection = await asyncpg.connect(messaging_database)
    await connection.execute("UPDATE messaging.outbox_meta SET revision = 'messaging_9999'")
    assert await schema_state(messaging_database) == "newer"
    with pytest.raises(ConfigurationError, match="newer than this waybill: install"):
        await upgrade(messaging_database)
    await connection.close()


async def test_revisions_agree_with_their_list(messaging_database: str) -> None:
    """The list that is read without Alembic names the head that Alembic knows."""
    connection = await asyncpg.connect(messaging_database)
    head = await connection.fetchval("SELECT version_num FROM messaging.schema_version")
    await connection.close()
    assert head == HEAD_REVISION


def test_current_schema_costs_no_alembic(messaging_database: str) -> None:
    """A start on a current schema imports neither Alembic nor SQLAlchemy."""
    program = (
        "import asyncio, sys; from waybill.messaging.adapters.postgres.migrate import upgrade; "
        f"asyncio.run(upgrade({messaging_database!r})); "
        "print([name for name in ('alembic', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


async def test_host_application_includes_the_revisions(empty_database: str, tmp_path: Path) -> None:
    """A host's own Alembic runs our revisions beside its own, and we recognise the result."""
    host = tmp_path / "versions"
    host.mkdir()
    (tmp_path / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(connection=context.config.attributes['connection'])\n"
        "context.run_migrations()\n"
    )
    (host / "parcels.py").write_text(
        "from alembic import op\nrevision = 'parcels_1'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE parcels (id int)')\n"
    )
    ours = f"{migrations.__path__[0]}/versions"

    def run(connection: Connection, act: Any, revision: str) -> None:  # noqa: ANN401 - of command
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(tmp_path))
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", f"{host}\n{ours}")
        act(config, revision)

    engine = create_async_engine(empty_database.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.run_sync(run, command.upgrade, "heads")
    assert await schema_state(empty_database) == "current"
    async with engine.begin() as connection:
        await connection.run_sync(run, command.downgrade, "waybill_messaging@base")
    assert await schema_state(empty_database) == "absent"
    await engine.dispose()


GOOD = Server(
    version=150000,
    system_identifier="1",
    timeline=1,
    in_recovery=False,
    fsync=True,
    database="orders",
)


@pytest.mark.parametrize(
    ("server", "advice"),
    [
        (dataclasses.replace(GOOD, version=149999), "upgrade"),
        (dataclasses.replace(GOOD, in_recovery=True), "URL of the primary"),
        (dataclasses.replace(GOOD, fsync=False), "set fsync=on"),
    ],
)
def test_unfit_server_is_refused(server: Server, advice: str) -> None:
    """Protocol O3, D8: a server on which the promises fail is refused, with what to do."""
    assert refusal(GOOD) is None
    assert advice in (refusal(server) or "")


async def test_server_is_recognised(messaging_database: str) -> None:
    """Protocol D6: reader and service see one identity of the server and its timeline."""
    database = await PostgresDatabase.connect(messaging_database)
    rows = await database.fetch("SELECT * FROM messaging.register_reader('c', ARRAY['t'], NULL)")
    assert await checked_server(database) == database.server
    assert (rows[0]["system_identifier"], rows[0]["timeline"]) == (
        database.server.system_identifier,
        database.server.timeline,
    )
    await database.close()

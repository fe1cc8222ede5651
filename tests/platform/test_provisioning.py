"""Every service has its own database, and roles that reach no other."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import (
    SERVICES,
    SIMULATOR,
    database_of,
    provision,
    roles_of,
    urls_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import TestDatabases

SENDERS = [service for service in SERVICES if service != SIMULATOR]

AGAIN = """
import asyncio, sys
from pathlib import Path
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import provision

async def main() -> None:
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await provision(server)
    print([name for name in ("alembic", "sqlalchemy") if name in sys.modules])

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def provisioned(session_directory: Path, databases: TestDatabases) -> Iterator[EmbeddedPostgres]:
    """A server with everything on it."""
    with EmbeddedPostgres(session_directory / "provisioned") as server:
        databases.run(provision(server, (*SERVICES, "orchestrator")))
        databases.run(provision(server))
        yield server


@pytest.mark.parametrize("service", SERVICES)
async def test_a_role_reaches_its_own_database_only(
    provisioned: EmbeddedPostgres, service: str
) -> None:
    """CONNECT is refused everywhere else, the server's own databases included."""
    for role in roles_of(service):
        for database in [*(database_of(other) for other in SERVICES), "postgres", "template1"]:
            url = provisioned.url(database, role)
            if database == database_of(service):
                await (await asyncpg.connect(url)).close()
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(url)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_service_role_has_no_ddl(provisioned: EmbeddedPostgres, service: str) -> None:
    """A service at run time cannot change the schema, nor an outbox row."""
    connection = await asyncpg.connect(urls_of(provisioned, service).service)
    refused = ["CREATE TABLE x ()", "CREATE TEMP TABLE x ()", "CREATE TABLE app.x ()"]
    if service in SENDERS:
        refused += [
            "CREATE TABLE messaging.x ()",
            "DROP TABLE messaging.outbox",
            "UPDATE messaging.outbox SET type = 'x'",
            "DELETE FROM messaging.outbox",
            "DELETE FROM messaging.dead_letters",
        ]
    for statement in refused:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


BOOKS = {
    "order": (
        "UPDATE app.orders SET total_amount = 1",
        "UPDATE app.orders SET lines = '[]'",
        "UPDATE app.orders SET customer_id = id",
        "UPDATE app.orders SET particulars = NULL",
        "DELETE FROM app.orders",
        "UPDATE app.prices SET unit_price = 1",
        "INSERT INTO app.prices VALUES (gen_random_uuid(), 'EUR', 'x', 1, now())",
    ),
    "inventory": (
        "UPDATE app.reservations SET quantities = '[]'",
        "UPDATE app.stock_adjustments SET d_available = 1",
        "DELETE FROM app.products",
        "DELETE FROM app.reservations",
        "DELETE FROM app.stock_adjustments",
    ),
    "payment": ("DELETE FROM messaging.deliveries", "DELETE FROM app.payment_answers"),
    "notification": ("DELETE FROM messaging.deliveries", "TRUNCATE personal.contacts"),
    "orchestrator": (
        "DELETE FROM app.sagas",
        "DELETE FROM messaging.deliveries",
        "UPDATE messaging.outbox SET type = 'x'",
        "CREATE TABLE app.x ()",
    ),
    "provider": (
        "UPDATE app.charges SET amount = 1",
        "UPDATE app.refunds SET amount = 1",
        "DELETE FROM app.charges",
        "DELETE FROM app.refunds",
    ),
}
"""What no service does to its own books, and so may not."""


@pytest.mark.parametrize("service", BOOKS)
async def test_a_service_may_not_rewrite_its_books(
    provisioned: EmbeddedPostgres, service: str
) -> None:
    """What an order was made of, what was moved, asked and captured: a taken role changes none."""
    connection = await asyncpg.connect(urls_of(provisioned, service).service)
    for statement in BOOKS[service]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("service", SENDERS)
async def test_a_reader_sees_the_outbox_and_nothing_else(
    provisioned: EmbeddedPostgres, service: str
) -> None:
    """What another service's consumer may see of this one (protocol D3)."""
    connection = await asyncpg.connect(urls_of(provisioned, service).reader)
    await connection.fetch("SELECT * FROM messaging.outbox")
    tables = await connection.fetch(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('messaging', 'app') "
        "AND tablename NOT LIKE 'outbox%'"
    )
    assert tables
    for table in tables:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT FROM {table['schemaname']}.{table['tablename']}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DELETE FROM messaging.outbox_reader")
    await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_an_auditor_reads_every_table_and_changes_nothing(
    provisioned: EmbeddedPostgres, service: str
) -> None:
    """P12: what proves the books cannot write them, whatever its session is set to."""
    connection = await asyncpg.connect(urls_of(provisioned, service).auditor)
    await connection.execute("SET default_transaction_read_only = off")
    tables = await connection.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables "
        "WHERE schemaname IN ('messaging', 'app') AND tablename !~ '^outbox_p?[0-9]'"
    )
    assert tables
    for table in tables:
        name = table["name"]
        await connection.fetch(f"TABLE {name} LIMIT 1")
        for statement in ("DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement.format(name))
    for statement in ("CREATE TABLE x ()", "CREATE TEMP TABLE x ()", "CREATE TABLE app.x ()"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_addresses_are_for_the_notification_service_only(
    provisioned: EmbeddedPostgres,
) -> None:
    """C38: neither who proves the books nor who reads an outbox sees a customer's address."""
    urls = urls_of(provisioned, "notification")
    for url in (urls.auditor, urls.reader):
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("TABLE personal.contacts")
        await connection.close()
    connection = await asyncpg.connect(urls.service)
    for statement in (
        "INSERT INTO personal.contacts VALUES ('u', 'a@b.example', now(), now())",
        "UPDATE personal.contacts SET email = 'c@b.example'",
        "DELETE FROM personal.contacts",
    ):
        assert (await connection.execute(statement)).endswith(" 1")
    await connection.close()


async def test_e4_only_owners_see_what_other_sessions_do(provisioned: EmbeddedPostgres) -> None:
    """Protocol E4: upkeep can name an old transaction, whoever holds it; services see their own."""
    for role, sees in (("owner", True), ("service", False), ("reader", False), ("auditor", False)):
        connection = await asyncpg.connect(getattr(urls_of(provisioned, "order"), role))
        assert await connection.fetchval("SELECT pg_has_role('pg_read_all_stats', 'USAGE')") is sees
        await connection.close()


def test_an_up_to_date_start_is_cheap(provisioned: EmbeddedPostgres) -> None:
    """It asks a few questions and loads no migration tool."""
    shown = subprocess.run(
        [sys.executable, "-c", AGAIN, str(provisioned.data_directory)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "[]"


async def test_it_may_be_repeated_and_mends_what_was_lost(provisioned: EmbeddedPostgres) -> None:
    """A database that was dropped comes back; a password in the secrets file counts."""
    admin = await asyncpg.connect(provisioned.url())
    await admin.execute(f"DROP DATABASE {database_of(SIMULATOR)} WITH (FORCE)")
    await admin.execute("ALTER ROLE order_service PASSWORD 'somebody else''s'")
    await admin.execute("COMMENT ON DATABASE postgres IS 'an older release'")
    await admin.close()
    said: list[str] = []
    await provision(provisioned, progress=said.append)
    assert said == ["preparing the databases"]
    for service in SERVICES:
        connection = await asyncpg.connect(urls_of(provisioned, service).service)
        await connection.close()
    said.clear()
    await provision(provisioned, progress=said.append)
    assert said == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE app.schema_version SET version_num = 'order_9999'",
        "UPDATE messaging.outbox_meta SET revision = 'messaging_9999'",
    ],
)
async def test_a_newer_schema_is_refused_in_one_line(
    provisioned: EmbeddedPostgres, statement: str
) -> None:
    """An older release does not touch what a newer one wrote."""
    owner = await asyncpg.connect(urls_of(provisioned, "order").owner)
    table, column = statement.split()[1], statement.split()[3]
    before = await owner.fetchval(f"SELECT {column} FROM {table}")  # noqa: S608 - ours
    await owner.execute(statement)
    try:
        with pytest.raises(ConfigurationError, match="newer than this waybill") as refused:
            await provision(provisioned)
        assert "\n" not in str(refused.value)
    finally:
        await owner.execute(f"UPDATE {table} SET {column} = $1", before)  # noqa: S608 - ours
        await owner.close()

"""A PostgreSQL server of one's own: roles, databases and tables without being superuser.

The session's server stands in for it; our administrator there may make roles and databases only.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.platform.databases import urls_of
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.own_databases import (
    SERVICES,
    OwnDatabases,
    database_of,
    password_variable,
    roles_of,
    url_variable,
)
from waybill.platform.own_server import (
    Administrator,
    prepare,
    provision_server,
    tables_of,
    upgrade,
)
from waybill.platform.server_steps import scram_verifier, script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from waybill.platform.embedded import EmbeddedPostgres

ADMINISTRATOR = "not_super"
ROLES = [role for service in SERVICES for role in roles_of(service)]


def environment_of(server: EmbeddedPostgres) -> dict[str, str]:
    """The variables that name this server as one of ours, with random passwords."""
    query = urlsplit(server.url()).query
    return {
        **{password_variable(role): secrets.token_urlsafe(16) for role in ROLES},
        **{url_variable(name): f"postgresql:///{database_of(name)}?{query}" for name in SERVICES},
    }


def own_of(environment: dict[str, str]) -> OwnDatabases:
    """What they name."""
    own = OwnDatabases.from_environment(environment)
    assert own is not None
    return own


@pytest.fixture
async def administrator(postgres: EmbeddedPostgres) -> AsyncIterator[Administrator]:
    """A role that may make roles and databases and is no superuser; what it made is dropped."""
    password = secrets.token_urlsafe(16)
    superuser = await asyncpg.connect(postgres.url())
    await superuser.execute(
        f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB PASSWORD '{password}'"
    )
    yield Administrator(ADMINISTRATOR, password, "postgres")
    for service in SERVICES:
        await superuser.execute(f"DROP DATABASE IF EXISTS {database_of(service)} WITH (FORCE)")
        for role in roles_of(service):
            await superuser.execute(f"DROP ROLE IF EXISTS {role}")
    await superuser.execute(f"DROP ROLE {ADMINISTRATOR}")
    await superuser.close()


async def test_who_is_no_superuser_provisions_a_server(
    postgres: EmbeddedPostgres, administrator: Administrator
) -> None:
    """Roles, databases and tables; what it may not is told; a second run sets passwords anew."""
    environment, told = environment_of(postgres), list[str]()
    for _ in range(2):
        environment |= {password_variable(role): secrets.token_urlsafe(16) for role in ROLES}
        own = own_of(environment)
        await provision_server(own, administrator, ("order", "provider"), progress=told.append)
    assert any("pg_read_all_stats" in line for line in told)
    assert told[-1] == "provider: providerdb is ready"
    service = await asyncpg.connect(urls_of(own, "order").service)
    assert await service.fetch("SELECT FROM orders") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute("CREATE TABLE app.x ()")
    await service.close()
    reader = await asyncpg.connect(urls_of(own, "order").reader)
    assert await reader.fetch("SELECT FROM messaging.outbox") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT FROM orders")
    assert await reader.fetchval(
        "SELECT NOT pg_has_role($1, 'order_owner', 'USAGE')", ADMINISTRATOR
    )
    await reader.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(
            own.url(database_of("provider"), "provider_reader").replace("providerdb", "orderdb")
        )


async def test_instances_that_start_together_all_get_their_tables(
    postgres: EmbeddedPostgres, administrator: Administrator
) -> None:
    """Several processes of one service may migrate at once."""
    own = own_of(environment_of(postgres))
    await provision_server(own, administrator, ("inventory",), progress=lambda _: None)
    owner = await asyncpg.connect(urls_of(own, "inventory").owner)
    await owner.execute("DROP SCHEMA messaging, app, reservation CASCADE")
    await asyncio.gather(*(upgrade(own, "inventory") for _ in range(4)))
    assert await owner.fetchval("SELECT count(*) FROM app.products") > 0
    await owner.close()


async def test_a_missing_right_says_who_can_help(
    postgres: EmbeddedPostgres, administrator: Administrator
) -> None:
    """An administrator that may make no roles is told of the script for one who may."""
    own = own_of(environment_of(postgres))
    superuser = await asyncpg.connect(postgres.url())
    await superuser.execute(f"ALTER ROLE {ADMINISTRATOR} NOCREATEROLE")
    await superuser.close()
    with pytest.raises(ConfigurationError, match="waybill provision --sql"):
        await provision_server(own, administrator, ("order",), progress=lambda _: None)
    with pytest.raises(ConfigurationError, match=r"refuses order_owner.*waybill provision"):
        await upgrade(own, "order")
    stranger = Administrator(ADMINISTRATOR, "another one", "postgres")
    with pytest.raises(ConfigurationError, match="set POSTGRES_USER and POSTGRES_PASSWORD right"):
        await provision_server(own, stranger, ("order",), progress=lambda _: None)


async def test_a_server_that_is_away_is_waited_for(
    postgres: EmbeddedPostgres, data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage at start costs time; each try is told."""
    environment = environment_of(postgres)
    for service in SERVICES:
        environment[url_variable(service)] = f"postgresql:///x?host={data_directory}"
    own, told = own_of(environment), list[str]()
    with pytest.raises(TransientError):
        await upgrade(own, "order")
    monkeypatch.setattr("waybill.platform.own_server.RETRY_SECONDS", 0.01)
    waiting = asyncio.create_task(
        prepare(own, ("order",), blueprint=CHOREOGRAPHY, progress=told.append)
    )
    while len(told) < 3:
        await asyncio.sleep(0.01)
        assert not waiting.done()
    waiting.cancel()
    assert told[0].startswith("the server of order is away: ")
    assert told[0].endswith(": trying again")


def test_the_payment_service_brings_the_simulators_ledger() -> None:
    """Which no process of its own serves."""
    assert list(tables_of(("order", "payment"))) == ["order", "payment", "provider"]


async def psql(server: EmbeddedPostgres, script: str, environment: dict[str, str]) -> str:
    """Run a script as the superuser; what psql complained about."""
    process = await asyncio.create_subprocess_exec(
        installed_programs() / "psql",
        *("--no-psqlrc", "--quiet", "--dbname", server.url()),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaints = await process.communicate(script.encode())
    assert bool(process.returncode) == ("ERROR" in complaints.decode())
    return complaints.decode()


async def test_the_script_does_the_same_by_psql(
    postgres: EmbeddedPostgres, administrator: Administrator
) -> None:
    """For an administrator who gives no password away; twice, and then the tables are made."""
    del administrator  # drops what the script made
    environment = environment_of(postgres)
    own = own_of(environment)
    for _ in range(2):
        assert "ERROR" not in await psql(postgres, "\n".join(script()), environment)
    await upgrade(own, "notification")
    connection = await asyncpg.connect(urls_of(own, "notification").service)
    assert await connection.fetch("SELECT FROM notifications") == []
    await connection.close()


async def test_the_script_without_a_password_stops(postgres: EmbeddedPostgres) -> None:
    """A role without a password would be one that nobody can use."""
    lines = "\n".join(("BEGIN;", *script(("order",))))
    assert "syntax error" in await psql(postgres, lines, {})


def test_a_verifier_is_what_rfc_7677_shows() -> None:
    """The example of RFC 7677: user `user`, password `pencil`."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert scram_verifier("pencil", salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )

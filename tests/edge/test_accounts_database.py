"""The accounts' database: its migration, and what its roles may do in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.commerce.migrations.migrate import schema_state, upgrade
from waybill.edge.accounts import store
from waybill.edge.accounts.service import DATABASE
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import database_of, provision_optional, roles_of, urls_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import TestDatabases
    from tests.edge.conftest import World

ADA = (
    "INSERT INTO private.accounts VALUES (gen_random_uuid(), 'ada@example.org', 'x', "
    "'{customer}', 1, now(), now())"
)


@pytest.fixture(scope="module")
def server(session_directory: Path, databases: TestDatabases) -> Iterator[EmbeddedPostgres]:
    """A server on which accounts were wanted, twice."""
    with EmbeddedPostgres(session_directory / "accounts") as started:
        for _ in range(2):
            databases.run(provision_optional(started, DATABASE))
        yield started


async def test_it_comes_from_nothing_and_is_left_alone_when_current(
    databases: TestDatabases, accounts_database: str
) -> None:
    """As every service's: repeatable, and known by its revision."""
    url = databases.server.url(accounts_database)
    assert await schema_state(url, DATABASE) == "current"
    await upgrade(url, DATABASE)


async def test_its_roles_reach_nothing_else(server: EmbeddedPostgres) -> None:
    """Promises, security 3: its own database, and a service role without DDL."""
    for role in roles_of(DATABASE):
        await (await asyncpg.connect(server.url(database_of(DATABASE), role))).close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(server.url("postgres", role))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE private.planted (id int)",
        "DELETE FROM private.accounts",
        "UPDATE private.accounts SET email = 'eve@example.org'",
        "UPDATE private.sessions SET account_id = gen_random_uuid()",
        "UPDATE private.refresh_tokens SET used_at = NULL, hash = hash",
        "DELETE FROM private.refresh_tokens",
        "UPDATE private.signing_keys SET private_key = 'mine'",
        "TRUNCATE private.accounts",
    ],
)
async def test_the_service_may_do_what_it_does_and_no_more(
    server: EmbeddedPostgres, statement: str
) -> None:
    """Least privilege, tried: what the code never does is refused."""
    connection = await asyncpg.connect(urls_of(server, DATABASE).service)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_nobody_else_sees_secrets_or_addresses(server: EmbeddedPostgres) -> None:
    """Reader and auditor: hashes, addresses and private keys are not theirs; a view is."""
    urls = urls_of(server, DATABASE)
    connection = await asyncpg.connect(urls.service)
    await connection.execute(ADA)
    await connection.close()
    for url in (urls.reader, urls.auditor):
        connection = await asyncpg.connect(url)
        for table in ("accounts", "sessions", "refresh_tokens", "signing_keys"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM private.{table}")  # noqa: S608 - a constant
        await connection.close()
    connection = await asyncpg.connect(urls.auditor)
    [row] = await connection.fetch("SELECT * FROM app.accounts")
    assert set(row.keys()) == {"id", "roles", "version", "created_at"}
    await connection.close()


async def test_roles_are_given_by_operators_and_stand_in_the_next_token(world: World) -> None:
    """Registering makes customers; a role comes from whoever runs the platform."""
    ada = {"email": "ada@example.org", "password": "correct horse battery"}
    async with world.client() as client:
        await client.post("/register", json=ada)
        async with world.database.transaction() as transaction:
            assert await store.give(transaction, ada["email"], ["customer", "operator"])
            assert not await store.give(transaction, "nobody@example.org", ["admin"])
        granted = (await client.post("/login", json=ada)).json()
        caller = await world.running[-1].verifier.verify(granted["accessToken"].encode())
    assert caller.roles == {"customer", "operator"}
    [account] = await store.newest(world.database, 10)
    assert account.roles == ("customer", "operator")
    with pytest.raises(Exception, match="accounts_roles_known"):
        async with world.database.transaction() as transaction:
            await store.give(transaction, ada["email"], ["root"])

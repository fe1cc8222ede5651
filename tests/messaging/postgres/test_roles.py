"""Least privilege: each thing that a service's or a reader's role can not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.inbox import PostgresInbox, purge_inbox
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.partitions import spare_partitions
from waybill.messaging.adapters.postgres.roles import grant_access
from waybill.messaging.core.identity import new_id
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE, READER = 'parcel"service', "parcel_reader"
"""The quotation mark has to survive."""


@pytest.fixture
async def owner(messaging_database: str) -> AsyncIterator[asyncpg.Connection]:
    """The schema's owner, with both roles in place and all rights granted twice."""
    connection = await asyncpg.connect(messaging_database)
    quoted = SERVICE.replace('"', '""')
    await connection.execute(f'CREATE ROLE "{quoted}"; CREATE ROLE {READER}')
    await grant_access(connection, SERVICE, READER)
    await grant_access(connection, SERVICE, READER)
    yield connection
    await connection.execute(
        f'DROP OWNED BY "{quoted}", {READER}; DROP ROLE "{quoted}"; DROP ROLE {READER}'
    )
    await connection.close()


async def as_role(owner: asyncpg.Connection, role: str, statement: str) -> None:
    """Run a statement with a role's rights, and take it back."""
    transaction = owner.transaction()
    await transaction.start()
    try:
        quoted = role.replace('"', '""')
        await owner.execute(f'SET LOCAL ROLE "{quoted}"')
        await owner.execute(statement)
    finally:
        await transaction.rollback()


NOBODY_MAY = {
    "create a table": "CREATE TABLE messaging.mine (a int)",
    "create a function": "CREATE FUNCTION messaging.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "change a table": "ALTER TABLE messaging.outbox ADD COLUMN mine int",
    "drop a partition": "DROP TABLE messaging.outbox_1",
    "detach a partition": "ALTER TABLE messaging.outbox DETACH PARTITION messaging.outbox_1",
    "empty the outbox": "TRUNCATE messaging.outbox",
    "insert past the lane locks": "INSERT INTO messaging.outbox (seq) VALUES (1)",
    "insert into a partition": "INSERT INTO messaging.outbox_1 (seq) VALUES (1)",
    "update the outbox": "UPDATE messaging.outbox SET payload = ''",
    "delete from the outbox": "DELETE FROM messaging.outbox",
    "draw a number": "SELECT nextval('messaging.outbox_seq')",
    "set the sequence": "SELECT setval('messaging.outbox_seq', 1)",
    "move the horizon": "UPDATE messaging.outbox_meta SET horizon = 1",
    "move a reader past the functions": "UPDATE messaging.outbox_reader SET positions = '{}'",
    "pretend another schema version": "UPDATE messaging.schema_version SET version_num = ''",
}

A_SERVICE_MAY_NOT = NOBODY_MAY | {
    "register as a reader": "SELECT messaging.register_reader('c', '{}', NULL)",
    "delete a dead letter": "DELETE FROM messaging.dead_letters",
    "delete a delivery": "DELETE FROM messaging.deliveries",
    "change what it processed": "UPDATE messaging.inbox SET consumer = ''",
}

A_READER_MAY_NOT = NOBODY_MAY | {
    "append": "SELECT messaging.outbox_append('{}','{}','{}','{}',NULL,NULL,NULL,NULL,NULL,"
    "'{}','{}','{}','{}','{}','{}')",
    "delete a reader": "DELETE FROM messaging.outbox_reader",
    **{
        f"read {table}": f"TABLE messaging.{table}"
        for table in (
            "outbox_meta",
            "outbox_reader",
            "outbox_seq",
            "inbox",
            "consumer_source",
            "dead_letters",
            "deliveries",
            "schedule",
        )
    },
}


@pytest.mark.parametrize("act", A_SERVICE_MAY_NOT)
async def test_service_role_cannot(owner: asyncpg.Connection, act: str) -> None:
    """A service at run time has no DDL, and writes the outbox through its function only."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_role(owner, SERVICE, A_SERVICE_MAY_NOT[act])


@pytest.mark.parametrize("act", A_READER_MAY_NOT)
async def test_reader_role_cannot(owner: asyncpg.Connection, act: str) -> None:
    """Protocol D3: a reader reads the outbox, registers and reports; nothing else."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_role(owner, READER, A_READER_MAY_NOT[act])


async def test_reader_role_can_read_register_and_report(owner: asyncpg.Connection) -> None:
    """Protocol D3: what is left suffices to consume."""
    for statement in (
        "SELECT FROM messaging.outbox",
        "SELECT messaging.register_reader('c', '{t}', NULL)",
        "SELECT messaging.report_positions('c', array_fill(1::bigint, ARRAY[17]))",
    ):
        await as_role(owner, READER, statement)


async def test_service_role_can_publish_and_consume(
    owner: asyncpg.Connection, messaging_database: str
) -> None:
    """A whole unit, readiness and upkeep of the inbox need no right beyond the granted ones."""
    del owner
    settings = PostgresSettings(server_settings={"role": SERVICE})
    database = await PostgresDatabase.connect(messaging_database, settings)
    try:
        assert (await database.fetch("SELECT current_user"))[0][0] == SERVICE
        async with database.transaction() as transaction:
            await PostgresInbox().claim(transaction, "c", [new_id()])
            PostgresOutbox().append(transaction, [a_message()])
        assert await spare_partitions(database) == 2
        assert await purge_inbox(database, 0) == 1
    finally:
        await database.close()

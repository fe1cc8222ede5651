"""Messaging's tables on MariaDB and MySQL: made, found, and left alone if they are newer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.mysql.migrate import schema_state, upgrade
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.adapters.mysql.connection import MysqlDatabase
    from waybill.messaging.core.ports import Database

_TABLES = """
SELECT table_name, engine, table_collation FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name LIKE 'messaging%' ORDER BY table_name
"""


async def tables(database: Database) -> Sequence[tuple[object, ...]]:
    """Ours, with what they are stored as."""
    return [(row[0], row[1], row[2]) for row in await database.fetch(_TABLES)]


async def test_an_upgrade_makes_all_and_may_be_repeated(
    plain: MysqlDatabase, empty_database: str
) -> None:
    """Every table is transactional and compares bytes, whatever the server's defaults are."""
    assert await schema_state(empty_database) == "absent"
    await asyncio.gather(upgrade(empty_database), upgrade(empty_database))
    assert await schema_state(empty_database) == "current"
    made = await tables(plain)
    assert len(made) == 14
    assert {(each[1], each[2]) for each in made if each[0] != "messaging_schema_version"} == {
        ("InnoDB", plain.server.collation)
    }
    await upgrade(empty_database)
    assert await tables(plain) == made


async def test_an_upgrade_that_was_cut_short_goes_on(
    plain: MysqlDatabase, empty_database: str
) -> None:
    """These servers commit before each CREATE: half of it may be there."""
    await upgrade(empty_database)
    made = await tables(plain)
    await plain.fetch("DROP TABLE messaging_schedule, messaging_inbox")
    await plain.fetch("DELETE FROM messaging_outbox_meta")
    await plain.fetch("DELETE FROM messaging_schema_version")
    assert await schema_state(empty_database) == "absent"
    await upgrade(empty_database)
    assert await tables(plain) == made


async def test_newer_tables_are_left_alone(plain: MysqlDatabase, empty_database: str) -> None:
    """An older waybill does not touch what it does not know."""
    await upgrade(empty_database)
    await plain.fetch("UPDATE messaging_outbox_meta SET revision = 'messaging_mysql_9999'")
    assert await schema_state(empty_database) == "newer"
    with pytest.raises(ConfigurationError, match="newer"):
        await upgrade(empty_database)


@pytest.mark.usefixtures("messaging_database")
async def test_keys_that_differ_by_a_space_or_a_case_are_two(database: MysqlDatabase) -> None:
    """A key is bytes: these servers' usual collations take 'a', 'A' and 'a ' for one."""
    insert = "INSERT INTO messaging_schedule (name, due_at) VALUES ($1, now())"
    for name in ("a", "A", "a ", "\u00e4"):
        await database.fetch(insert, name)
    rows = await database.fetch("SELECT name FROM messaging_schedule WHERE name = $1", "a")
    assert [row[0] for row in rows] == ["a"]

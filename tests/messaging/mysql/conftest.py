"""What the tests of adapters on MariaDB and MySQL share: servers, databases, a probe table.

MariaDB is started here; MySQL is tested as well if MYSQL_URL names a server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.mariadb import Databases, Mariadb

from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.messaging.adapters.mysql.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from waybill.messaging.core.ports import Database, Transaction

MYSQL_URL = os.environ.get("MYSQL_URL", "")
"""Superuser's URL of a MySQL 8 server, any database of it."""


class TableProbe:
    """See contracts.transaction.Probe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self) -> None:
        """Make its table."""
        await self._database.fetch(
            "CREATE TABLE probe (n bigint AUTO_INCREMENT PRIMARY KEY, value varchar(100), "
            "CONSTRAINT no_x CHECK (value <> 'x'), small smallint, unique_value varchar(100), "
            "CONSTRAINT only_one UNIQUE (unique_value))"
        )

    async def write(self, transaction: Transaction, value: str) -> None:
        """Store a value."""
        await transaction.execute("INSERT INTO probe (value) VALUES ($1)", value)

    async def read(self) -> list[str]:
        """Committed values in order."""
        return [
            row["value"] for row in await self._database.fetch("SELECT * FROM probe ORDER BY n")
        ]


@pytest.fixture(scope="session")
def mariadb(session_directory: Path) -> Iterator[Mariadb]:
    """One running server for the whole session. Tests that hurt a server start their own."""
    with Mariadb(session_directory / "mariadb-of-the-session") as server:
        yield server


@pytest.fixture(scope="session", params=["mariadb", *(["mysql"] if MYSQL_URL else [])])
def server_url(request: pytest.FixtureRequest) -> str:
    """Superuser's URL of each server that the adapter is tested on."""
    if request.param == "mysql":
        return MYSQL_URL
    server: Mariadb = request.getfixturevalue("mariadb")
    return server.url


@pytest.fixture
async def empty_database(server_url: str) -> AsyncIterator[str]:
    """URL of a fresh database without any table."""
    databases = Databases(server_url)
    url = await databases.make()
    yield url
    await databases.drop(url)


@pytest.fixture
async def plain(empty_database: str) -> AsyncIterator[MysqlDatabase]:
    """An open pool on an empty database, with the owner's rights."""
    opened = await MysqlDatabase.connect(empty_database)
    yield opened
    await opened.close()


@pytest.fixture
async def messaging_database(empty_database: str) -> str:
    """URL of a fresh database that has messaging's tables."""
    await upgrade(empty_database)
    return empty_database


@pytest.fixture
async def database(messaging_database: str) -> AsyncIterator[MysqlDatabase]:
    """An open pool on it, with the owner's rights."""
    opened = await MysqlDatabase.connect(messaging_database)
    yield opened
    await opened.close()

"""What the tests of adapters on MariaDB and MySQL share: servers, databases, a probe table.

MariaDB is started here; MySQL is tested as well if MYSQL_URL names a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import mariadb
from tests.mariadb import SERVERS, Databases

from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.messaging.adapters.mysql.migrate import upgrade
from waybill.messaging.core.outbox_row import to_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Database, Transaction
    from waybill.messaging.testing.contracts.inbox import Verdict


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


READ = """
SELECT lane, seq, id, topic, type, aggregateid, version, aggregatetype, aggregate_version,
       correlation_id, causation_id, traceparent, producer, occurred_at, headers, payload
FROM messaging_outbox WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3
"""


class OutboxRows:
    """See contracts.outbox.Reader."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, lane: int, after: int, limit: int) -> Sequence[Record]:
        """Records of a lane."""
        rows = await self._database.fetch(READ, lane, after, limit)
        return [to_record("", row) for row in rows]  # type: ignore[arg-type]  # rows iterate


class LetterRows:
    """See contracts.inbox.Letters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, consumer: str, message_id: UUID, verdict: Verdict) -> None:
        """Store one letter, all else empty."""
        await self._database.fetch(
            "INSERT INTO messaging_dead_letters (id, consumer, message_id, source, topic, lane,"
            " seq, `key`, value, type, version, aggregate_type, correlation_id, producer, headers,"
            " occurred_at, error_type, error_message, stacktrace, verdict) VALUES ($1, $2, $1, '',"
            " '', 0, 0, '', '', '', 1, '', '', '', '{}', now(), '', '', '', $3)",
            message_id,
            consumer,
            verdict,
        )


@pytest.fixture(scope="session", params=SERVERS)
def server_url(request: pytest.FixtureRequest) -> str:
    """Superuser's URL of each server that the adapter is tested on."""
    return mariadb.server_url(request, request.param)


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


@pytest.fixture
def read(database: MysqlDatabase) -> OutboxRows:
    """See contracts.outbox."""
    return OutboxRows(database)


@pytest.fixture
def letters(database: MysqlDatabase) -> LetterRows:
    """See contracts.inbox."""
    return LetterRows(database)

"""A cache can tell whose data it holds: restored or renewed data are another database's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.lineage import lineage
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import TestDatabases


async def lineage_at(url: str) -> str:
    """Of the database at this URL, seen by a new connection."""
    database = await PostgresDatabase.connect(url)
    try:
        return await lineage(database)
    finally:
        await database.close()


async def test_two_databases_of_one_server_are_two(
    databases: TestDatabases, messaging_template: str
) -> None:
    """And each is the same to everybody who asks."""
    names = [databases.copy(messaging_template) for _ in range(2)]
    try:
        urls = [databases.server.url(name) for name in names]
        first, second, again = [await lineage_at(urls[each]) for each in (0, 1, 0)]
        assert first == again != second
    finally:
        for name in names:
            databases.drop(name)


async def test_a_server_that_was_started_again_may_have_other_data(session_directory: Path) -> None:
    """A folder put back from a backup differs from the one before in nothing else."""
    data = session_directory / "lineage"
    seen = []
    for _ in range(2):
        with EmbeddedPostgres(data) as server:
            seen.append(await lineage_at(server.url("postgres")))
    assert seen[0] != seen[1]

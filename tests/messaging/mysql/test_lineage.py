"""A cache can tell whose data it holds: another database is another text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mariadb import Databases

from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.messaging.adapters.mysql.lineage import lineage

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database


async def parts_of(database: Database) -> tuple[str, int, str]:
    """Server, the second in which it started, database."""
    server, since, name = (await lineage(database)).split("/")
    return server, int(since), name


async def test_two_databases_of_one_server_are_two(plain: MysqlDatabase, server_url: str) -> None:
    """Of one server that did not start anew between the looks; it counts in seconds."""
    databases = Databases(server_url)
    other = await databases.make()
    another = await MysqlDatabase.connect(other)
    try:
        first, second = await parts_of(plain), await parts_of(another)
    finally:
        await another.close()
        await databases.drop(other)
    assert first[0] == second[0] != ""
    assert abs(first[1] - second[1]) <= 1
    assert first[2] != second[2]

"""Rows of an outbox on MariaDB and MySQL go when they are over and passed, and never before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mariadb import Databases, Mariadb

from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.messaging.adapters.mysql.migrate import upgrade
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.adapters.mysql.retention import purge_outbox
from waybill.messaging.adapters.mysql.source import MysqlSource
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.reading.settings import LogSettings
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from pathlib import Path

A_DAY = 86_400.0


async def left(database: MysqlDatabase) -> list[int]:
    """Numbers of the rows that are there."""
    return [row[0] for row in await database.fetch("SELECT seq FROM messaging_outbox ORDER BY seq")]


async def a_source(url: str) -> MysqlSource:
    """Connected."""
    source = MysqlSource("parcels", url, application_name="tests", settings=LogSettings())
    await source.connect()
    return source


async def fill(database: MysqlDatabase, count: int) -> list[int]:
    """Rows of two days ago; their numbers."""
    async with database.transaction() as transaction:
        MysqlOutbox().append(transaction, [a_message(f"k{n}") for n in range(count)])
    await database.fetch("UPDATE messaging_outbox SET created_at = NOW(6) - INTERVAL 2 DAY")
    return await left(database)


async def test_a_row_waits_for_its_reader(database: MysqlDatabase, messaging_database: str) -> None:
    """Protocol D5: a reader that has not passed a row keeps it and all behind it."""
    seqs = await fill(database, 40)
    source = await a_source(messaging_database)
    await source.register("tracking", ["parcel-events"])
    assert await purge_outbox(database, A_DAY) == 0
    await source.report("tracking", [seqs[24]] * ALL_LANES)
    assert await purge_outbox(database, A_DAY, page_rows=2) == 25
    assert await left(database) == seqs[25:]
    registration = await source.register("another", ["parcel-events"])
    assert registration.horizon == seqs[25]
    assert registration.positions == (seqs[25] - 1,) * ALL_LANES
    await source.close()


async def test_a_young_row_stays(database: MysqlDatabase) -> None:
    """Its retention counts from when it was written."""
    await fill(database, 5)
    async with database.transaction() as transaction:
        MysqlOutbox().append(transaction, [a_message("k")])
    young = (await left(database))[-1]
    assert await purge_outbox(database, A_DAY) == 5
    assert await left(database) == [young]


async def test_the_relay_keeps_what_it_has_not_sent(database: MysqlDatabase) -> None:
    """Protocol O6: an outage of the log that is longer than the retention costs nothing."""
    seqs = await fill(database, 5)
    await database.fetch("UPDATE messaging_outbox_meta SET mode = 'relay'")
    assert await purge_outbox(database, A_DAY) == 0
    await database.fetch("UPDATE messaging_outbox_lane SET position = $1", seqs[-1])
    assert await purge_outbox(database, A_DAY) == 5


async def test_numbers_go_on_after_everything_went(
    database: MysqlDatabase, messaging_database: str
) -> None:
    """Protocol O1: an empty outbox does not begin anew, or readers would pass over what comes."""
    seqs = await fill(database, 5)
    assert await purge_outbox(database, A_DAY) == 5
    source = await a_source(messaging_database)
    assert (await source.register("late", ["parcel-events"])).last_seq == seqs[-1]
    assert (await fill(database, 1))[0] > seqs[-1]
    await source.close()


async def test_numbers_go_on_after_a_power_cut(session_directory: Path) -> None:
    """Protocol O1: AUTO_INCREMENT is durable, so an emptied outbox does not begin anew."""
    with Mariadb(session_directory / "mariadb-that-is-killed") as server:
        url = await Databases(server.url).make()
        await upgrade(url)
        before = await MysqlDatabase.connect(url)
        seqs = await fill(before, 5)
        assert await purge_outbox(before, A_DAY) == 5
        server.stop(at_once=True)
        await before.close()
        server.start()
        after = await MysqlDatabase.connect(url)
        assert (await fill(after, 1))[0] > seqs[-1]
        await after.close()

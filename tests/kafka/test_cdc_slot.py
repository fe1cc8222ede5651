"""A slot that the server has cut off is given up, and the relay sends what it had not (L6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.commerce.support import eventually
from tests.kafka.connect import connect
from tests.kafka.records import create_topics, headers_of, records_until
from tests.kafka.test_cdc import (
    DEAD,
    SHIPPED,
    TOPIC,
    Database,
    all_seen,
    connector,
    databases_of,
    lag,
    messages,
    service_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka.broker import OtherBroker
    from tests.kafka.connect import Connect

pytestmark = pytest.mark.long
SLOT = "waybill_order_outbox"
KEPT_MAX = "1MB"
STATUS = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1"
FILL = "SELECT pg_logical_emit_message(false, 'filler', repeat('x', 4000000))"
BY_HAND = "UPDATE messaging.outbox_meta SET mode = 'relay'"


@pytest.fixture
def database(session_directory: Path) -> Iterator[Database]:
    """One that keeps next to nothing for a connector that is away."""
    with databases_of(session_directory / "cut-off", KEPT_MAX) as (database, _):
        yield database


@pytest.fixture
def worker(session_directory: Path, kafka: OtherBroker) -> Iterator[Connect]:
    """With the order service's connector."""
    shipped = (SHIPPED / "worker.properties").read_text()
    with connect(session_directory / "connect-cut-off", kafka.bootstrap, shipped) as made:
        made.add(connector("order", heartbeat_milliseconds=500))
        yield made


async def cut_off(database: Database) -> None:
    """Write until the server gives the slot up; what the outbox holds stays."""
    connection = await asyncpg.connect(database.url)
    try:
        async with asyncio.timeout(120):
            while await connection.fetchval(STATUS, SLOT) != "lost":
                await connection.execute(FILL)
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def says_so(worker: Connect) -> bool:
    """Whether the connector has told of it; its task tries again, and has not failed."""
    return f"Cannot obtain valid replication slot '{SLOT}'" in worker.told()


async def given_up(database: Database) -> None:
    """What the page on change data capture asks an operator to do by hand."""
    connection = await asyncpg.connect(database.url)
    await connection.execute(BY_HAND)
    await connection.execute("SELECT pg_drop_replication_slot($1)", SLOT)
    await connection.close()


async def test_a_slot_that_was_cut_off_is_given_up_for_the_relay(
    database: Database, worker: Connect, kafka: OtherBroker
) -> None:
    """The connector never sends what it missed, and the position stays below it; the relay does."""
    create_topics(kafka.bootstrap, [TOPIC, DEAD])
    await asyncio.to_thread(worker.start, database.environment())
    sent = messages(60, TOPIC, {})
    async with service_of(database, kafka.bootstrap, "cdc") as service:
        await database.append(sent[:20])
        await eventually(lambda: all_seen(service), 60)
        worker.kill()
        await database.append(sent[20:])
        await cut_off(database)
        worker.launch(database.environment())
        await eventually(lambda: says_so(worker), 120)
        assert await lag(service) == 40
    worker.kill()
    await given_up(database)
    async with service_of(database, kafka.bootstrap, "relay") as service:
        await eventually(lambda: all_seen(service), 60)
    records = await asyncio.to_thread(
        records_until, kafka.bootstrap, [TOPIC], lambda found: len(found) >= len(sent)
    )
    assert {headers_of(each)["eventId"] for each in records} == {
        str(each.id).encode() for each in sent
    }

"""A service of a library user's on MariaDB: its URL is all that says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import CODEC, TOPIC, Added, Copied

from waybill.messaging.adapters.mysql.server import ENVELOPE_ROOM_BYTES
from waybill.messaging.core.dead_letter_record import OMITTED_HEADER
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.outbox_limits import size_of
from waybill.messaging.service import MessagingService, MessagingSettings
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from waybill.messaging.adapters.mysql.connection import MysqlDatabase
    from waybill.messaging.runtime.message_unit import MessageUnit

VALUE_BYTES_MAX = 100
NARROWER = f"ALTER TABLE messaging_dead_letters MODIFY value varbinary({VALUE_BYTES_MAX}) NOT NULL"
CREATE = "CREATE TABLE amounts (place bigint AUTO_INCREMENT PRIMARY KEY, amount int)"


async def test_a_service_publishes_and_consumes(empty_database: str) -> None:
    """What a unit publishes is applied once and in order, with state of the service's own."""
    service = MessagingService("ledger", url=empty_database, codec=CODEC)
    copied = asyncio.Event()

    @service.handler("ledger", Added)
    async def add(event: Added, unit: MessageUnit) -> None:
        await unit.execute("INSERT INTO amounts (amount) VALUES ($1)", event.amount)
        unit.publish(Copied(event.account, event.amount), key=event.account)

    @service.handler("copies", Copied)
    async def note(event: Copied, unit: MessageUnit) -> None:
        del unit
        if event.amount == 3:
            copied.set()

    for _ in range(2):  # may be repeated
        await service.migrate()
    await service.connect()
    try:
        await service.ports.database.fetch(CREATE)
        service.start()
        async with service.unit() as unit:
            for amount in (1, 2, 3):
                unit.publish(Added("a", amount), key="a")
        async with asyncio.timeout(20):
            await copied.wait()
        rows = await service.ports.database.fetch("SELECT amount FROM amounts ORDER BY place")
        assert [row[0] for row in rows] == [1, 2, 3]
        assert service.supervisor.halted == {}
    finally:
        await service.stop()


async def test_a_dead_letter_that_no_column_holds_is_kept_without_its_value(
    messaging_database: str,
) -> None:
    """C5, C7: its place says where the log has it; the next one is whole, and nobody stops.

    A column that is narrower than ours stands for a server that takes less in a statement.
    """
    service = MessagingService("ledger", url=messaging_database, codec=CODEC)
    taken = asyncio.Event()

    @service.handler("ledger", Added)
    async def take(event: Added, unit: MessageUnit) -> None:
        del event
        unit.on_commit(taken.set)

    values = [b"x" * (VALUE_BYTES_MAX + 1), b"x" * VALUE_BYTES_MAX, b'{"account":"a","amount":1}']
    wide, *_ = sent = [a_message(topic=TOPIC, type="Added", value=v, version=2) for v in values]
    await service.connect()
    try:
        await service.ports.database.fetch(NARROWER)
        async with service.ports.database.transaction() as transaction:
            service.ports.outbox.append(transaction, sent)
        service.start()
        async with asyncio.timeout(20):
            await taken.wait()
        found = await service.storage.verdicts.list_dead_letters(service.ports.database)
    finally:
        await service.stop()
    kept = {each.letter.record.message.id: each.letter for each in found}
    assert kept.keys() == {each.id for each in sent[:2]}
    assert kept[sent[1].id].record.message == sent[1]
    reduced = kept[wide.id]
    assert reduced.record.message.value == b""
    assert reduced.record.message.headers[OMITTED_HEADER] == b"%d" % len(wide.value)
    assert f"its value of {len(wide.value)} bytes" in reduced.error_message
    assert reduced.record.seq < kept[sent[1].id].record.seq


async def test_a_message_must_fit_into_a_statement(
    messaging_database: str, plain: MysqlDatabase
) -> None:
    """What message_bytes_max lets in, the server takes whatever its bytes are: said at the start.

    Each byte here takes two in a statement.
    """
    limit = (plain.server.packet_bytes_max - ENVELOPE_ROOM_BYTES) // 2
    for size in (limit, limit + 1):
        settings = MessagingSettings(message_bytes_max=size)
        service = MessagingService("ledger", url=messaging_database, codec=CODEC, settings=settings)
        try:
            if size > limit:
                with pytest.raises(ConfigurationError, match="raise max_allowed_packet of"):
                    await service.connect()
                continue
            await service.connect()
            message = a_message(value=bytes(size - size_of(a_message(value=b""))))
            async with service.ports.database.transaction() as transaction:
                service.ports.outbox.append(transaction, [a_message(), message, a_message()])
        finally:
            await service.stop()

"""A service of a library user's on MariaDB: its URL is all that says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.messaging.ledger import CODEC, Added, Copied

from waybill.messaging.service import MessagingService

if TYPE_CHECKING:
    from waybill.messaging.runtime.message_unit import MessageUnit

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

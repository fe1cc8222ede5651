"""A dead letter that the database refuses itself is kept with less of it, and stops nobody."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from tests.messaging.ledger import CODEC, CONSUMER, TOPIC, Added

from waybill.messaging import ConsumerPolicy, MessagingService, UndecodableMessageError
from waybill.messaging.core.dead_letter_row import ORIGINAL_ENVELOPE_HEADER
from waybill.messaging.core.message import UNREADABLE_TYPE
from waybill.messaging.runtime.batch import Sorter
from waybill.messaging.runtime.each import each
from waybill.messaging.runtime.ports import SilentObserver
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.unit import Received, UnitOfWork

NARROWER = {
    "postgresql": "ALTER TABLE messaging.dead_letters ALTER COLUMN version TYPE smallint",
    "mysql": "ALTER TABLE messaging_dead_letters MODIFY version smallint NOT NULL",
}
TOO_WIDE = 40_000


class Watching(SilentObserver):
    """Hears of every rewind."""

    def __init__(self) -> None:
        self.retries: list[str] = []

    def retried(self, consumer: str, reason: str) -> None:
        """A batch is tried again."""
        del consumer
        self.retries.append(reason)


def message(amount: int, version: int = 2, *, value: bytes | None = None) -> Message:
    """An amount, as the ledger's producer writes it, or with another value."""
    written = msgspec.json.encode(Added("a", amount)) if value is None else value
    return a_message("a", topic=TOPIC, type="Added", value=written, version=version)


@pytest.mark.parametrize("impure", [False, True], ids=["set-wise", "each"])
async def test_a_letter_that_no_column_holds_is_kept_without_its_envelope(
    either_database: str, *, impure: bool
) -> None:
    """C5, C6: value, id and place stay, and why; its neighbours are applied, or dead letters whole.

    A column that is narrower than ours stands for what nobody thought of. Redriven, the letter is
    refused: the envelope that it has is not its own.
    """
    observer, amounts, tries = Watching(), asyncio.Queue[int](), Counter[int]()
    service = MessagingService("ledger", url=either_database, codec=CODEC, observer=observer)

    async def take(unit: UnitOfWork, received: Received) -> None:
        amount = cast("Added", received.event).amount
        tries[amount] += 1
        if impure and amount == 2 and tries[amount] == 1:
            raise OSError("try again")
        unit.on_commit(partial(amounts.put_nowait, amount))

    async def take_all(unit: UnitOfWork, received: Sequence[Received]) -> None:
        for one in received:
            await take(unit, one)

    await service.migrate()
    await service.connect()
    handler = each({Added: take}, pause_seconds=0.01) if impure else take_all
    service.consume(CONSUMER, [Added], handler)
    ports = service.ports
    refused, poison = message(0, TOO_WIDE), message(0, value=b"no JSON")
    try:
        await ports.database.fetch(NARROWER[either_database.partition(":")[0]])
        async with ports.database.transaction() as transaction:
            ports.outbox.append(transaction, [message(1), refused, message(2), poison, message(3)])
        service.start()
        async with asyncio.timeout(30):
            assert [await amounts.get() for _ in range(3)] == [1, 2, 3]
        assert observer.retries == []
        letters = await service.storage.verdicts.list_dead_letters(ports.database)
    finally:
        await service.stop()
    kept = {one.letter.record.message.id: one.letter for one in letters}
    assert kept.keys() == {refused.id, poison.id}
    assert kept[poison.id].record.message == poison
    reduced = kept[refused.id]
    assert reduced.record.message.value == refused.value
    assert reduced.record.message.type == UNREADABLE_TYPE
    assert reduced.record.message.correlation_id == refused.correlation_id
    assert b"version=40000" in reduced.record.message.headers[ORIGINAL_ENVELOPE_HEADER]
    assert "kept without its envelope" in reduced.error_message
    with pytest.raises(UndecodableMessageError, match="kept without its envelope"):
        Sorter(CONSUMER, CODEC, [Added], ConsumerPolicy()).decode(reduced.record)

"""What every Outbox must do: messages are stored with the state, in order, and none is skipped."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest

from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.identity import UuidFactory
from waybill.messaging.core.lanes import ALL_LANES, DEAD_LETTER_LANE, lane_of
from waybill.messaging.core.message import Message, Record
from waybill.messaging.core.outbox_limits import KEY_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database, Outbox, Transaction

FEW_SECONDS = 30.0
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
new_id = UuidFactory()

# CRC-32/ISO-HDLC of the UTF-8 bytes, modulo 16; the check value of "123456789" is 0xCBF43926.
LANE_VECTORS = (("123456789", 0xCBF43926 % 16), ("", 0), ("a", 0xE8B7BE43 % 16), ("é", 14))


class Reader(Protocol):
    """Reads what is committed."""

    async def __call__(self, lane: int, after: int, limit: int) -> Sequence[Record]:
        """Records of a lane above a seq, ascending."""


def a_message(key: str = "k", **changes: Any) -> Message:  # noqa: ANN401 - any field
    """A message like any other."""
    return msgspec.structs.replace(
        Message(
            id=new_id(),
            topic="parcel-events",
            type="Sent",
            key=key,
            value=b"{}",
            occurred_at=NOON,
            correlation_id=key,
            producer="parcels",
        ),
        **changes,
    )


class OutboxContract:
    """Fixtures to give: `database`, `outbox` (on it; default limits), `read` (a Reader)."""

    async def _publish(self, database: Database, outbox: Outbox, *messages: Message) -> None:
        async with database.transaction() as transaction:
            outbox.append(transaction, messages)

    async def test_message_comes_back_whole(
        self, database: Database, outbox: Outbox, read: Reader
    ) -> None:
        """Every field of the envelope and every byte of the value is kept."""
        full = a_message(
            "ключ-1",
            value=b"\x00\xff raw",
            version=3,
            aggregate_type="parcel",
            aggregate_version=7,
            correlation_id="conversation",
            causation_id=new_id(),
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            headers={"x-a": b"\x01", "x-b": b""},
        )
        bare = a_message("ключ-1", correlation_id="")
        await self._publish(database, outbox, full, bare)
        records = await read(lane_of("ключ-1"), 0, 10)
        assert [record.message for record in records] == [full, bare]

    async def test_append_order_is_seq_order(
        self, database: Database, outbox: Outbox, read: Reader
    ) -> None:
        """Protocol O2: messages of one key are numbered in the order of append."""
        messages = [a_message(f"key-{n % 5}", version=n + 1) for n in range(60)]
        async with database.transaction() as transaction:
            for message in messages:
                outbox.append(transaction, (message,))
        numbered = [record for lane in range(ALL_LANES) for record in await read(lane, 0, 100)]
        numbered.sort(key=lambda record: record.seq)
        assert [record.message.version for record in numbered] == list(range(1, 61))
        assert len({record.seq for record in numbered}) == 60

    @pytest.mark.parametrize(("key", "lane"), LANE_VECTORS)
    async def test_lane_is_crc32_of_the_key(
        self, database: Database, outbox: Outbox, read: Reader, key: str, lane: int
    ) -> None:
        """Protocol O4: the lane is CRC-32 of the key modulo 16, on every adapter and for ever."""
        await self._publish(database, outbox, a_message(key))
        assert [record.message.key for record in await read(lane, 0, 10)] == [key]

    async def test_dead_letter_topics_have_their_lane(
        self, database: Database, outbox: Outbox, read: Reader
    ) -> None:
        """Protocol O4: a `.DLT` record never stands in the way of others."""
        await self._publish(database, outbox, a_message("k", topic="parcel-events.DLT"))
        records = await read(DEAD_LETTER_LANE, 0, 10)
        assert [record.message.topic for record in records] == ["parcel-events.DLT"]

    async def test_rolled_back_messages_never_existed(
        self, database: Database, outbox: Outbox, read: Reader
    ) -> None:
        """No state, no message."""
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                outbox.append(transaction, (a_message("k"),))
                raise LookupError
        assert await read(lane_of("k"), 0, 10) == []

    async def test_append_after_the_flush_raises(
        self, database: Database, outbox: Outbox, read: Reader
    ) -> None:
        """Protocol O2: a message that would miss the flush fails the unit."""

        async def late(transaction: Transaction, _items: Sequence[Any]) -> None:
            outbox.append(transaction, (a_message("k"),))

        with pytest.raises(RuntimeError, match="already flushed"):
            async with database.transaction() as transaction:
                outbox.append(transaction, (a_message("k"),))
                transaction.buffer(late).append("now")
        assert await read(lane_of("k"), 0, 10) == []

    async def test_too_large_a_message_is_refused_at_append(
        self, database: Database, outbox: Outbox
    ) -> None:
        """Protocol L4, pitfall B9: what no log would take never gets into the outbox."""
        async with database.transaction() as transaction:
            outbox.append(transaction, (a_message(value=bytes(900_000)),))
            with pytest.raises(PermanentError, match="message_bytes_max"):
                outbox.append(transaction, (a_message(value=bytes(1_000_001)),))
            with pytest.raises(PermanentError, match="message_bytes_max"):
                outbox.append(transaction, (a_message(headers={"h": bytes(1_000_001)}),))
            with pytest.raises(PermanentError, match="message_bytes_max"):
                outbox.append(transaction, (a_message("k" * 9_000, value=bytes(991_000)),))

    async def test_the_longest_key_is_stored_and_a_longer_one_refused_at_append(
        self, database: Database, outbox: Outbox, read: Reader
    ) -> None:
        """Protocol L4: as many characters as there may be, of four bytes, no two alike."""
        key = "".join(chr(0x10000 + n * 7919 % 0xC000) for n in range(KEY_CHARS_MAX))
        async with database.transaction() as transaction:
            outbox.append(transaction, (a_message(key),))
            with pytest.raises(PermanentError, match=f"{KEY_CHARS_MAX + 1} characters"):
                outbox.append(transaction, (a_message(key + "k"),))
        (record,) = await read(lane_of(key), 0, 10)
        assert record.message.key == key

    async def test_reader_of_a_lane_never_passes_over_a_message(
        self, database: Database, outbox: Outbox, read: Reader
    ) -> None:
        """Protocol O1: paging each lane by seq while many units commit misses none (B1)."""
        units = [
            [a_message(f"key-{(n * 7 + m * 3) % 40}") for m in range(1 + n % 6)] for n in range(240)
        ]
        todo = iter(units)
        seen: list[Record] = []
        positions = [0] * ALL_LANES

        async def writer() -> None:
            for unit in todo:
                await self._publish(database, outbox, *unit)

        async def page() -> None:
            for lane in range(ALL_LANES):
                records = await read(lane, positions[lane], 7)
                seen.extend(records)
                positions[lane] = records[-1].seq if records else positions[lane]

        async with asyncio.timeout(FEW_SECONDS):
            writers = asyncio.gather(*(writer() for _ in range(5)))
            while not writers.done():
                await page()
            await writers
            rest = -1
            while rest != len(seen):
                rest = len(seen)
                await page()
        assert sorted(record.message.id for record in seen) == sorted(
            message.id for unit in units for message in unit
        )

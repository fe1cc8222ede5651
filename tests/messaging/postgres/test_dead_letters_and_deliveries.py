"""Dead letters, deliveries and the schedule on PostgreSQL: the contracts, and what is their own."""

from __future__ import annotations

import struct
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec
import pytest

from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.dead_letters import PostgresDeadLetters
from waybill.messaging.adapters.postgres.deliveries import KEY_BYTES_MAX, PostgresDeliveries
from waybill.messaging.adapters.postgres.inbox import PostgresInbox
from waybill.messaging.adapters.postgres.lease import release_all
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.schedule import PostgresSchedule
from waybill.messaging.adapters.postgres.verdicts import (
    discard_dead_letters,
    judge_parked_deliveries,
    list_dead_letters,
    list_parked_deliveries,
    redrive_dead_letters,
    show_dead_letter,
)
from waybill.messaging.core.dead_letter_record import ERROR_MESSAGE_CHARS_MAX, STACKTRACE_CHARS_MAX
from waybill.messaging.core.errors import PermanentError, TransientError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import DEAD_LETTER_LANE
from waybill.messaging.core.outcome import Delivered
from waybill.messaging.core.ports import Park
from waybill.messaging.testing.contracts.dead_letters import (
    CONSUMER,
    DeadLettersContract,
    Judge,
    a_letter,
)
from waybill.messaging.testing.contracts.deliveries import KIND, DeliveriesContract, a_delivery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.messaging.postgres.conftest import OutboxRows

    from waybill.messaging.core.ports import DeadLetter

A_DAY = 86_400.0


@pytest.fixture
def dead_letters(database: PostgresDatabase) -> PostgresDeadLetters:
    """With the default limits."""
    return PostgresDeadLetters(database, PostgresOutbox())


@pytest.fixture
def deliveries(database: PostgresDatabase) -> PostgresDeliveries:
    """The only one."""
    return PostgresDeliveries(database)


@pytest.fixture
def judge(database: PostgresDatabase) -> Judge:
    """An operator at the command line."""

    async def give(
        consumer: str, message_ids: Sequence[UUID], verdict: Literal["REDRIVE", "DISCARDED"]
    ) -> None:
        if verdict == "DISCARDED":
            judged = await discard_dead_letters(
                database, consumer, message_ids, who="ada", why="test"
            )
        else:
            judged = await redrive_dead_letters(
                database,
                consumer,
                message_ids,
                who="ada",
                why="test",
                inbox_retention_seconds=A_DAY,
            )
        assert set(judged.done) == set(message_ids)

    return give


class TestPostgresDeadLetters(DeadLettersContract):
    pass


class TestPostgresDeliveries(DeliveriesContract):
    pass


async def add(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters, *letters: DeadLetter
) -> None:
    """Store letters."""
    async with database.transaction() as transaction:
        await dead_letters.add(transaction, letters)


async def test_dead_letter_record_has_the_headers_of_spring_kafka(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters, read: OutboxRows
) -> None:
    """Protocol C5: original-partition is the lane, original-offset the seq, big-endian."""
    letter = a_letter()
    at = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
    message = msgspec.structs.replace(letter.record.message, occurred_at=at)
    letter = msgspec.structs.replace(
        letter,
        record=msgspec.structs.replace(letter.record, message=message),
        cause_type="builtins.KeyError",
    )
    await add(database, dead_letters, letter)
    (record,) = await read(DEAD_LETTER_LANE, 0, 10)
    assert record.message.headers == {
        "x-a": b"\x01",
        "kafka_dlt-original-topic": b"parcel-events",
        "kafka_dlt-original-partition": struct.pack(">i", 3),
        "kafka_dlt-original-offset": struct.pack(">q", 41),
        "kafka_dlt-original-timestamp": struct.pack(">q", 1_772_366_400_123),
        "kafka_dlt-original-timestamp-type": b"CreateTime",
        "kafka_dlt-original-consumer-group": b"tracking",
        "kafka_dlt-exception-fqcn": b"parcels.NoSuchParcel",
        "kafka_dlt-exception-cause-fqcn": b"builtins.KeyError",
        "kafka_dlt-exception-message": b"no",
        "kafka_dlt-exception-stacktrace": "Traceback …".encode(),
    }


async def test_any_text_of_an_error_can_be_stored(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters, read: OutboxRows
) -> None:
    """U+0000, lone surrogates and endless traces stop no dead letter (pitfall B61)."""
    letter = msgspec.structs.replace(
        a_letter(), error_message="\x00\ud800" * 5_000, stacktrace="é" * 100_000
    )
    await add(database, dead_letters, letter)
    (row,) = await list_dead_letters(database)
    assert len(row.letter.error_message) == ERROR_MESSAGE_CHARS_MAX
    assert len(row.letter.stacktrace) == STACKTRACE_CHARS_MAX
    assert len(await read(DEAD_LETTER_LANE, 0, 10)) == 1


@pytest.mark.parametrize("size", [985_000, 999_000, 2_000_000])
async def test_dead_letter_of_a_large_message_fits_the_outbox(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters, read: OutboxRows, size: int
) -> None:
    """A refused `.DLT` write stops nothing: the row keeps what the record has no room for."""
    letter = a_letter()
    message = msgspec.structs.replace(letter.record.message, value=bytes(size))
    letter = msgspec.structs.replace(
        letter,
        record=msgspec.structs.replace(letter.record, message=message),
        stacktrace="é" * 8_000,
    )
    await add(database, dead_letters, letter)
    (record,) = await read(DEAD_LETTER_LANE, 0, 10)
    assert len(record.message.value) in {size, 0}
    assert record.message.headers["kafka_dlt-original-topic"] == b"parcel-events"
    (row,) = await list_dead_letters(database)
    assert len(row.letter.record.message.value) == size


async def test_open_and_discarded_letters_are_not_claimed(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters, judge: Judge
) -> None:
    """Protocol C4, C5: only a redrive lets the inbox take a dead letter's message."""
    letter, inbox = a_letter(), PostgresInbox()
    ids = [letter.record.message.id]
    await add(database, dead_letters, letter)
    claims = []
    for verdict in ("OPEN", "DISCARDED", "REDRIVE"):
        if verdict == "DISCARDED":
            await judge(CONSUMER, ids, "DISCARDED")
        if verdict == "REDRIVE":
            await database.fetch("UPDATE messaging.dead_letters SET verdict = 'REDRIVE'")
        async with database.transaction() as transaction:
            claims.append(await inbox.claim(transaction, CONSUMER, ids))
    assert claims == [set(), set(), set(ids)]


async def test_verdict_that_changed_meanwhile_rolls_the_redrive_back(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters, judge: Judge
) -> None:
    """An operator who discards while the consumer redrives is not overruled."""
    letter = a_letter()
    ids = [letter.record.message.id]
    await add(database, dead_letters, letter)
    await judge(CONSUMER, ids, "REDRIVE")
    await judge(CONSUMER, ids, "DISCARDED")
    with pytest.raises(TransientError, match="verdict"):
        async with database.transaction() as transaction:
            await dead_letters.redriven(transaction, CONSUMER, ids)


async def test_verdicts_say_who_why_and_when(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters
) -> None:
    """An operator's word is kept with the letter, and how often it was tried again."""
    letter = a_letter()
    ids = [letter.record.message.id]
    await add(database, dead_letters, letter)
    with pytest.raises(ValueError, match="who"):
        await discard_dead_letters(database, CONSUMER, ids, who="ada", why=" ")
    await redrive_dead_letters(
        database, CONSUMER, ids, who="ada", why="fixed", inbox_retention_seconds=A_DAY
    )
    await add(database, dead_letters, letter)
    (row,) = await show_dead_letter(database, ids[0])
    assert (row.verdict, row.redrives) == ("OPEN", 1)
    assert (row.verdict_by, row.verdict_reason) == ("ada", "fixed")
    assert row.verdict_at is not None
    assert row.verdict_at > row.created_at
    assert (await show_dead_letter(database, row.id)) == [row]


async def test_redrive_refuses_what_the_inbox_may_have_forgotten(
    database: PostgresDatabase, dead_letters: PostgresDeadLetters
) -> None:
    """Older than the inbox's retention: nothing could tell a repeat; also what is done already."""
    old, done, fine = a_letter(key="old"), a_letter(key="done"), a_letter(key="fine")
    await add(database, dead_letters, old, done, fine)
    await database.fetch(
        "UPDATE messaging.dead_letters SET created_at = created_at - interval '2 days'"
        " WHERE key = 'old'"
    )
    await database.fetch(
        "UPDATE messaging.dead_letters SET verdict = 'REDRIVEN' WHERE key = 'done'"
    )
    missing = new_id()
    ids = [letter.record.message.id for letter in (old, done, fine)]
    judged = await redrive_dead_letters(
        database,
        CONSUMER,
        [*ids, missing],
        who="ada",
        why="fixed",
        inbox_retention_seconds=A_DAY,
    )
    assert judged.done == (ids[2],)
    assert "older" in judged.refused[ids[0]]
    assert "REDRIVEN" in judged.refused[ids[1]]
    assert "no such" in judged.refused[missing]


@pytest.mark.parametrize("verdict", [Delivered(b"receipt"), None])
async def test_parked_delivery_gets_a_verdict(
    database: PostgresDatabase, deliveries: PostgresDeliveries, verdict: Delivered | None
) -> None:
    """Protocol M6: an operator finds out and says so; the deliverer settles or asks again."""
    token, owed = new_id(), a_delivery("a")
    async with database.transaction() as transaction:
        await deliveries.add(transaction, [owed], lease_token=token, lease_seconds=60)
        await deliveries.postpone(transaction, [(owed, Park("who knows"))], lease_token=token)
    (parked,) = await list_parked_deliveries(database)
    assert (parked.id, parked.reason, parked.attempts) == (owed.id, "who knows", 1)
    assert await judge_parked_deliveries(
        database, [owed.id, new_id()], verdict, who="ada", why="asked the bank"
    ) == {owed.id}
    (claimed,) = await deliveries.claim(KIND, 10, lease_token=new_id(), lease_seconds=60)
    assert claimed.verdict == verdict
    assert claimed.ask_first
    assert await list_parked_deliveries(database) == []


async def test_claim_finds_due_rows_among_many_by_index(messaging_database: str) -> None:
    """A plan made on an empty table still reads few rows of a full one."""
    # One connection, so that the plans are the cached ones, and its counters are all there are.
    database = await PostgresDatabase.connect(messaging_database, PostgresSettings(pool_max=1))
    deliveries = PostgresDeliveries(database)
    for _ in range(6):
        await deliveries.claim(KIND, 10, lease_token=new_id(), lease_seconds=60)
        async with database.transaction() as transaction:
            await deliveries.settle(transaction, [(a_delivery("nobody"), Delivered())])
    await database.fetch(
        "INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id)"
        " SELECT gen_random_uuid(), $1, n::text, '',"
        " CASE WHEN n % 20000 = 0 THEN 'PENDING' ELSE 'DELIVERED' END, ''"
        " FROM generate_series(1, 60000) AS n",
        KIND,
    )
    before = await rows_read(database)
    claimed = await deliveries.claim(KIND, 10, lease_token=new_id(), lease_seconds=60)
    assert len(claimed) == 3
    async with database.transaction() as transaction:
        assert len(await deliveries.settle(transaction, [(d, Delivered()) for d in claimed])) == 3
    assert await rows_read(database) == before
    await database.close()


async def rows_read(database: PostgresDatabase) -> int:
    """Rows that sequential scans of the table have read, once statistics are in."""
    await database.fetch("SELECT pg_stat_force_next_flush()")
    rows = await database.fetch(
        "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'deliveries'"
    )
    return int(rows[0][0])


async def test_e2_a_delivery_of_a_dead_process_is_claimed_at_once_and_asked_about(
    database: PostgresDatabase, deliveries: PostgresDeliveries
) -> None:
    """Protocol E2, M6: once leases are void, the next claim gets the call, with `ask_first`."""
    owed = a_delivery("order-1")
    async with database.transaction() as transaction:
        await deliveries.add(transaction, [owed], lease_token=new_id(), lease_seconds=30.0)
    assert not await deliveries.claim(KIND, 10, lease_token=new_id(), lease_seconds=30.0)
    await release_all(database)
    (claimed,) = await deliveries.claim(KIND, 10, lease_token=new_id(), lease_seconds=30.0)
    assert claimed.id == owed.id
    assert claimed.ask_first


async def test_c14_scheduled_work_goes_to_one_process_when_due(database: PostgresDatabase) -> None:
    """Protocol C14: rows and leases, no owner; a lost lease is told."""
    schedule = PostgresSchedule(database)
    await schedule.register(["purge", "ask"])
    await schedule.register(["ask"])
    token = new_id()
    names = ["ask", "purge", "unknown"]
    claimed = await schedule.claim(names, lease_token=token, lease_seconds=60)
    assert list(claimed) == ["ask", "purge"]
    assert list(await schedule.claim(names, lease_token=new_id(), lease_seconds=60)) == []
    assert await schedule.finish("ask", lease_token=token, next_seconds=0)
    assert await schedule.finish("purge", lease_token=token, next_seconds=3600)
    assert not await schedule.finish("ask", lease_token=token, next_seconds=0)
    assert list(await schedule.claim(names, lease_token=token, lease_seconds=0.0)) == ["ask"]
    assert list(await schedule.claim(names, lease_token=new_id(), lease_seconds=9)) == ["ask"]
    assert not await schedule.finish("ask", lease_token=token, next_seconds=0)


async def test_a_key_of_a_call_that_no_index_takes_is_permanent(
    database: PostgresDatabase, deliveries: PostgresDeliveries
) -> None:
    """Protocol C6: the longest key, of bytes that nothing compresses, is stored; refused above."""
    key = "".join(chr(0x10000 + n * 7919 % 0xC000) for n in range(KEY_BYTES_MAX // 4))
    for wanted, refused in ((key, False), (f"{key}k", True)):
        owed = [a_delivery(wanted), a_delivery("other")]
        with pytest.raises(PermanentError, match="2001 bytes") if refused else nullcontext():
            async with database.transaction() as transaction:
                await deliveries.add(transaction, owed, lease_token=None, lease_seconds=1.0)
    found = await deliveries.find(KIND, [key, f"{key}k", "other"])
    assert {delivery.key for delivery, _ in found} == {key, "other"}

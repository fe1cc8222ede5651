"""What the platform and its operators see of an outbox on MariaDB: figures, backlog, verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.mysql.arrays import encoded
from waybill.messaging.adapters.mysql.dead_letters import MysqlDeadLetters
from waybill.messaging.adapters.mysql.deliveries import MysqlDeliveries
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.core.figures import Waiting
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import ALL_LANES, lane_of
from waybill.messaging.core.message import Record
from waybill.messaging.core.outcome import Delivered
from waybill.messaging.core.ports import DeadLetter, Delivery, Park
from waybill.messaging.engines.mysql import MysqlEngine
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.adapters.mysql.connection import MysqlDatabase

KEYS = [str(number) for number in range(40)]
"""They fall into most of the lanes."""
ENGINE = MysqlEngine()
REGISTER = """
INSERT INTO messaging_outbox_reader (consumer, topics, start, positions) VALUES ($1, $2, $3, $3)
ON DUPLICATE KEY UPDATE positions = $3
"""


async def publish(database: MysqlDatabase, *keys: str) -> None:
    """Append a message for each key."""
    async with database.transaction() as transaction:
        MysqlOutbox().append(transaction, [a_message(key) for key in keys])


async def reader(database: MysqlDatabase, name: str, *, read_all: bool) -> None:
    """Register (again) at the beginning, or behind all that there is."""
    rows = await database.fetch("SELECT lane, max(seq) FROM messaging_outbox GROUP BY lane")
    ends = {row[0]: row[1] for row in rows} if read_all else {}
    positions = encoded(ends.get(lane, 0) for lane in range(ALL_LANES))
    await database.fetch(REGISTER, name, encoded([a_message("k").topic]), positions)


async def letter(database: MysqlDatabase) -> UUID:
    """A dead letter of the consumer c; its message's id."""
    message = a_message("k-1")
    failed = DeadLetter(
        consumer="c",
        record=Record("source", 1, 7, message),
        error_type="ValueError",
        error_message="no",
        stacktrace="",
    )
    async with database.transaction() as transaction:
        await MysqlDeadLetters(database, MysqlOutbox()).add(transaction, [failed])
    return message.id


async def test_i5_rows_count_until_the_first_reader_has_passed_them(
    database: MysqlDatabase,
) -> None:
    """Protocol I5: exactly at the limit, whatever lanes they stand in; without a reader none."""
    await publish(database, *KEYS)
    assert await ENGINE.unread_rows(database, count_max=40) == 0
    await reader(database, "a", read_all=False)
    assert await ENGINE.unread_rows(database, count_max=41) == 40
    assert await ENGINE.unread_rows(database, count_max=39) == 39, "counted no further"
    await reader(database, "b", read_all=True)
    assert await ENGINE.unread_rows(database, count_max=39) == 0, "a first reader has them all"


async def test_figures_tell_what_waits_and_for_whom(database: MysqlDatabase) -> None:
    """Lag by reader, topic and lane; rows that the slowest reader has not; letters and calls."""
    await publish(database, *KEYS)
    await reader(database, "quick", read_all=True)
    await reader(database, "slow", read_all=False)
    await letter(database)
    owed = Delivery(id=new_id(), kind="call", key="k", request=b"")
    async with database.transaction() as transaction:
        await MysqlDeliveries(database).add(
            transaction, [owed], lease_token=None, lease_seconds=1.0
        )
    found = await ENGINE.look(database)
    topic = a_message("k").topic
    assert sum(count for (name, _, _), count in found.lag.items() if name == "slow") == 40
    assert sum(count for (name, _, _), count in found.lag.items() if name == "quick") == 0
    assert found.lag["slow", topic, lane_of(KEYS[0])] > 0
    assert found.outbox_pending == 40
    assert found.dead_letters_open == {"c": 1}
    waiting = found.deliveries["call", "PENDING"]
    assert waiting == Waiting(1, 0, waiting.oldest_seconds)
    assert set(found.silent_seconds) == {"quick", "slow"}
    relay = await ENGINE.look_at_relay(database)
    assert (relay.mode, relay.lag, len(relay.lanes)) == ("direct", 41, ALL_LANES)


async def test_verdicts_on_dead_letters_are_given_once(database: MysqlDatabase) -> None:
    """A letter is listed, shown and discarded, with who and why; a second verdict is refused."""
    message_id, verdicts = await letter(database), ENGINE.verdicts
    (listed,) = await verdicts.list_dead_letters(database, consumer="c")
    assert listed.letter.record.message.id == message_id
    assert [info.id for info in await verdicts.show_dead_letter(database, message_id)] == [
        listed.id
    ]
    with pytest.raises(ValueError, match="who"):
        await verdicts.discard_dead_letters(database, "c", [message_id], who="", why="w")
    unknown = new_id()
    judged = await verdicts.discard_dead_letters(
        database, "c", [message_id, unknown], who="ann", why="a test"
    )
    assert judged.done == (message_id,)
    assert judged.refused == {unknown: "c has no such dead letter"}
    (again,) = await verdicts.list_dead_letters(database, verdict=None)
    assert (again.verdict, again.verdict_by, again.verdict_reason) == (
        *("DISCARDED", "ann"),
        "a test",
    )
    redriven = await verdicts.redrive_dead_letters(
        database, "c", [message_id], who="ann", why="no", inbox_retention_seconds=1e6
    )
    assert redriven.refused == {message_id: "it is DISCARDED already"}


async def test_a_parked_delivery_is_judged(database: MysqlDatabase) -> None:
    """What an operator found out is kept, and the deliverer's next turn carries it out."""
    deliveries, token = MysqlDeliveries(database), new_id()
    owed = Delivery(id=new_id(), kind="call", key="k", request=b"r")
    async with database.transaction() as transaction:
        await deliveries.add(transaction, [owed], lease_token=token, lease_seconds=60.0)
    async with database.transaction() as transaction:
        await deliveries.postpone(transaction, [(owed, Park("lost"))], lease_token=token)
    (parked,) = await ENGINE.verdicts.list_parked_deliveries(database)
    assert (parked.id, parked.reason, parked.cancelled) == (owed.id, "lost", False)
    judged = await ENGINE.verdicts.judge_parked_deliveries(
        database, [owed.id, new_id()], Delivered(b"x"), who="ann", why="seen"
    )
    assert judged == {owed.id}
    assert await ENGINE.verdicts.list_parked_deliveries(database) == []


async def test_topics_are_listed_and_read(database: MysqlDatabase) -> None:
    """Every row of a topic, by key if one is asked for; nobody is held back by it."""
    await publish(database, *KEYS)
    topic = a_message("k").topic
    (info,) = await ENGINE.topics.list_topics({"s": database})
    assert (info.topic, info.source, info.rows) == (topic, "s", 40)
    read = [record async for record in ENGINE.topics.read_topic({"s": database}, topic)]
    assert sorted(record.message.key for record in read) == sorted(KEYS)
    one = ENGINE.topics.read_topic({"s": database}, topic, key="7")
    assert [record.message.key async for record in one] == ["7"]
    late = ENGINE.topics.read_topic({"s": database}, topic, from_end=True)
    assert [record async for record in late] == []

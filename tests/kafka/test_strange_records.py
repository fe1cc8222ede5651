"""Records that a database would refuse, as any stranger may write them: dead letters, no rewind."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from confluent_kafka import Producer
from tests.kafka.reading import name_of, read, settings_for
from tests.messaging.test_refused_letters import Watching

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.blueprints.notify_wire import ORDER_CREATED
from waybill.messaging import (
    ConsumerPolicy,
    EventType,
    JsonCodec,
    MessagingService,
    UndecodableMessageError,
)
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.core.dead_letter_record import OMITTED_HEADER
from waybill.messaging.core.dead_letter_row import ORIGINAL_ENVELOPE_HEADER
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outbox_limits import KEY_CHARS_MAX
from waybill.messaging.runtime.batch import Sorter
from waybill.messaging.service import MessagingSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.kafka.broker import OtherBroker

    from waybill.messaging.core.message import ForeignRecord, Message
    from waybill.messaging.core.unit import Received, UnitOfWork

ORDER = "d3f1a8e0-52c4-4d0f-8f0c-6c1b7a9e4b21"
BLUEPRINT = "blueprint"
"""Names who is to understand a record."""
LONG = "\u20ac" * 30_000
"""In UTF-8 more than a `text` of MariaDB has."""
RECORD_BYTES_MAX = 10_000_000
BYTES_MAX = 100_000
"""What the service sends at most; a stranger's record may be larger."""
CONVERSATION = "the-conversation"
HUGE = bytes(9_000_000)
"""An operator lets topics have such records: escaped, more than MariaDB takes in a statement."""
POLICY = ConsumerPolicy(dead_letters_max=100_000, same_error_share_max=1.0)
TIMES = (
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "0999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999Z",
)
GOOD_TIMES = ("1000-01-01T00:00:00+14:00", "9000-12-31T23:59:59-14:00")
VERSIONS = (2**31, 2**63, 10**400, -1)
OWN = {
    "eventType": b"Told",
    "ce_time": b"2026-11-22T10:00:00Z",
}


class Told(msgspec.Struct, frozen=True):
    """What the test's consumer understands; nothing of a stranger's."""

    number: int


class Placed(Told, frozen=True):
    """The same under the name of notify's one event."""


@dataclass(frozen=True)
class Strange:
    """A record to write."""

    value: bytes
    headers: dict[str, bytes] = field(default_factory=dict)
    key: bytes = b"k"


def envelope(blueprint: str, **members: object) -> dict[str, object]:
    """The least that this blueprint's reader takes, with these members more or in place."""
    id_ = str(new_id())
    least: dict[str, dict[str, object]] = {
        "choreography": {"eventId": id_, "eventType": "Told", "payload": {"orderId": ORDER}},
        "checkout": {"eventId": id_, "eventType": "Told", "payload": {"orderId": ORDER}},
        "orchestration": {"type": "Told", "data": {"orderId": ORDER}},
        "reservation": {"eventType": "Told", "orderId": "x"},
        "notify": {"orderId": 1, "userId": 2, "productIds": [3]},
    }
    return {**least[blueprint], **members}


_ENVELOPE: Sequence[tuple[str, Sequence[object]]] = (
    ("version", VERSIONS),
    ("occurredAt", (*TIMES, *GOOD_TIMES, 1e300, -62135596800, 221_845_392_001_000)),
    ("correlationId", (LONG, "a\0" * 20_000, "\ud800" * 10_000)),
    ("eventType", (LONG,)),
)
MEMBERS: dict[str, Sequence[tuple[str, Sequence[object]]]] = {
    "choreography": _ENVELOPE,
    "checkout": _ENVELOPE,
    "orchestration": [("occurredAt", (*TIMES, *GOOD_TIMES)), ("type", (LONG,))],
    "reservation": [("version", VERSIONS), ("orderId", (LONG,)), ("eventType", (LONG,))],
    "notify": [("orderId", (10**400, LONG)), ("userId", (2**63,))],
}


def strange() -> Iterator[Strange]:
    """Each blueprint's without headers, then those with ours."""
    for name in BLUEPRINTS:
        whose = {BLUEPRINT: name.encode()}
        for member, values in MEMBERS[name]:
            for value in values:
                written = json.dumps(envelope(name, **{member: value})).encode()
                yield Strange(written, whose)
        good = json.dumps(envelope(name)).encode()
        yield Strange(good, whose, key=LONG.encode())
        yield Strange(good, {**whose, "traceparent": LONG.encode()}, key=b"\xff" * 20_000)
    headers: list[tuple[str, bytes]] = [
        *(("ce_time", time.encode()) for time in TIMES),
        *(("eventVersion", b"%d" % number) for number in VERSIONS),
        *(("aggregateVersion", b"%d" % number) for number in (2**63, 10**400, -1)),
        *(
            (name, LONG.encode())
            for name in ("correlationId", "traceparent", "producer", "aggregateType", "eventType")
        ),
        ("causationId", b"no id"),
    ]
    for time in GOOD_TIMES:
        yield Strange(b'{"number": "none"}', {**OWN, "ce_time": time.encode()})
    for name, content in headers:
        yield Strange(b'{"number": 1}', {**OWN, name: content})
    yield Strange(b"no JSON", {BLUEPRINT: b"notify", "correlationId": CONVERSATION.encode()})
    yield Strange(b'{"number": "none"}', OWN, key=LONG[:KEY_CHARS_MAX].encode())
    yield Strange(b'{"number": 2}', OWN, key=LONG[: KEY_CHARS_MAX + 1].encode())
    yield Strange(b'{"number": 3}', OWN, key=b"\xff" * 900_000)


def read_foreign(record: ForeignRecord) -> Message:
    """As the blueprint does that the record names."""
    return BLUEPRINTS[record.headers[BLUEPRINT].decode()].read_foreign(record)


def codec_of(topic: str) -> JsonCodec:
    """What the consumer of this topic understands."""
    return JsonCodec([EventType(Told, topic, "Told"), EventType(Placed, topic, ORDER_CREATED)])


@asynccontextmanager
async def running(
    url: str, bootstrap: str, topic: str, observer: Watching, numbers: asyncio.Queue[int]
) -> AsyncIterator[MessagingService]:
    """A service that reads this topic, and takes as many dead letters as there may be."""

    async def take(unit: UnitOfWork, received: Sequence[Received]) -> None:
        for each in received:
            unit.on_commit(partial(numbers.put_nowait, cast("Told", each.event).number))

    made = MessagingService(
        "parcels",
        url=url,
        codec=codec_of(topic),
        kafka=replace(settings_for(bootstrap), record_bytes_max=RECORD_BYTES_MAX),
        settings=MessagingSettings(consumer=POLICY, message_bytes_max=BYTES_MAX),
        observer=observer,
        read_foreign=read_foreign,
        publishes=[topic],
    )
    await made.migrate()
    await made.connect()
    made.consume(topic, [Told, Placed], take)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


def write(bootstrap: str, topic: str, records: Sequence[Strange]) -> None:
    """All into one partition."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "message.max.bytes": RECORD_BYTES_MAX}
    )
    for each in records:
        own = {"eventId": str(new_id()).encode()} if "ce_time" in each.headers else {}
        producer.produce(
            topic, each.value, key=each.key, headers={**own, **each.headers}, partition=0
        )
    assert producer.flush(20) == 0


async def prepare(bootstrap: str, topic: str) -> None:
    """A topic for records as large as the operator wants them."""
    settings = replace(settings_for(bootstrap), record_bytes_max=RECORD_BYTES_MAX)
    await Topics(settings).prepare([topic])


async def test_what_no_column_holds_is_a_dead_letter_and_stops_nobody(
    either_database: str, kafka: OtherBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """C5, C7: every blueprint's reader and our headers; each letter has its value, nobody rewinds.

    A time or number outside a column's range, a text longer than it or with U+0000: the record
    behind them all is applied, and none of them cost a second try.
    """
    topic, records = name_of("strange"), list(strange())
    observer, numbers = Watching(), asyncio.Queue[int]()
    await prepare(kafka.bootstrap, topic)
    last = Strange(b'{"number": 7}', {**OWN, "eventId": ORDER.encode()})
    write(kafka.bootstrap, topic, [*records, last])
    async with running(either_database, kafka.bootstrap, topic, observer, numbers) as made:
        async with asyncio.timeout(60):
            assert await numbers.get() == 7
        assert observer.retries == []
        letters = await made.storage.verdicts.list_dead_letters(made.ports.database, limit=1_000)
        await read(kafka.bootstrap, f"{topic}.DLT", len(records))
    assert sorted(each.letter.record.seq for each in letters) == [*range(len(records))]
    for each in letters:
        assert each.letter.record.message.value == records[each.letter.record.seq].value
        assert ORIGINAL_ENVELOPE_HEADER not in each.letter.record.message.headers
    logged = [line for line in caplog.records if line.message.startswith("dead letter:")]
    assert CONVERSATION in {getattr(line, "correlation_id", None) for line in logged}
    keys = {len(each.letter.record.message.key) for each in letters}
    assert max(keys) == KEY_CHARS_MAX
    years = {each.letter.record.message.occurred_at.year for each in letters}
    assert {999, 9001} < years


@pytest.mark.long
async def test_what_no_statement_carries_is_a_dead_letter_and_stops_nobody(
    either_database: str, kafka: OtherBroker
) -> None:
    """C5, C7: MariaDB's max_allowed_packet is no outage; PostgreSQL keeps all, MariaDB what fits.

    Records of the usual size are kept whole by both, however many there are: no statement has all
    of them. The one that none can carry is kept without its value, and says where that is.
    """
    topic, observer, numbers = name_of("huge"), Watching(), asyncio.Queue[int]()
    await prepare(kafka.bootstrap, topic)
    records = [Strange(b"no JSON", {**OWN, "x-large": bytes(900_000)}) for _ in range(20)]
    records.append(Strange(HUGE, {**OWN, "correlationId": CONVERSATION.encode()}))
    last = Strange(b'{"number": 7}', {**OWN, "eventId": ORDER.encode()})
    write(kafka.bootstrap, topic, [*records, last])
    async with running(either_database, kafka.bootstrap, topic, observer, numbers) as made:
        async with asyncio.timeout(60):
            assert await numbers.get() == 7
        assert observer.retries == []
        found = await made.storage.verdicts.list_dead_letters(made.ports.database)
        *_, told = await read(kafka.bootstrap, f"{topic}.DLT", len(records))
    letters = sorted((each.letter for each in found), key=lambda letter: letter.record.seq)
    assert len(letters) == len(records)
    for letter in letters[:-1]:
        assert letter.record.message.value == b"no JSON"
        assert letter.record.message.headers["x-large"] == bytes(900_000)
    huge = letters[-1].record
    assert told.headers[OMITTED_HEADER] == b"%d" % len(HUGE)
    if either_database.startswith("postgresql"):
        assert huge.message.value == HUGE
        return
    assert (huge.message.value, huge.seq) == (b"", len(records) - 1)
    assert huge.message.headers[OMITTED_HEADER] == b"%d" % len(HUGE)
    assert huge.message.correlation_id == CONVERSATION
    assert b"type='Told'" in huge.message.headers[ORIGINAL_ENVELOPE_HEADER]
    with pytest.raises(UndecodableMessageError, match=r"its value of 9000000 bytes.*max_allowed_"):
        Sorter(topic, codec_of(topic), [Told], POLICY).decode(huge)

"""What becomes of a record's headers, whoever wrote it: no broker is needed to see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.messaging.adapters.kafka.headers import (
    ORIGINAL_KEY_HEADER,
    to_headers,
    to_record,
)
from waybill.messaging.core.codec import EventType, JsonCodec
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import (
    TEXT_CHARS_MAX,
    UNREADABLE_HEADER,
    UNREADABLE_TYPE,
    Batch,
    ForeignRecord,
    Message,
    Positions,
)
from waybill.messaging.runtime.batch import Sorter
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Raw:
    """A record as confluent-kafka gives one."""

    named: Sequence[tuple[str, bytes | None]] = ()
    content: bytes | None = b"{}"
    name: bytes | None = b"order-1"
    place: tuple[str, int, int] = field(default=("order-events", 4, 77))
    milliseconds: int = 1_700_000_000_123

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.place[2]

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.content

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return list(self.named) or None

    def timestamp(self) -> tuple[int, int]:
        return (1, self.milliseconds)


def sent(message: Message) -> Raw:
    """The record that the writer makes of it."""
    named = [(name, value) for name, value in to_headers(message) if not isinstance(value, str)]
    return Raw(named, message.value, message.key.encode(), (message.topic, 4, 77))


def test_a_message_comes_back_whole() -> None:
    """Every field of the envelope travels, and headers of one's own."""
    message = a_message(
        "ключ",
        value=b"\x00\xff raw",
        version=3,
        aggregate_type="parcel",
        aggregate_version=2**40,
        correlation_id="conversation",
        causation_id=a_message().id,
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        producer="parcels",
        headers={"x-a": b"\x01", "x-b": b"", "id": b"mine"},
    )
    record = to_record(sent(message))
    assert record.message == message
    assert (record.source, record.lane, record.seq) == (message.topic, 4, 77)


def test_headers_without_a_value_are_not_there() -> None:
    """Change data capture writes a header for every column, empty ones too."""
    message = a_message("k")
    raw = sent(message)
    raw.named = [
        *raw.named,
        ("causationId", None),
        ("traceparent", None),
        ("aggregateVersion", None),
    ]
    assert to_record(raw).message == message


def test_column_of_headers_is_taken_apart() -> None:
    """Over change data capture own headers come as the outbox's column, and Debezium's id goes."""
    message = a_message("k")
    raw = sent(message)
    column = b'{"x-a":"AQ==","x-b":""}'
    raw.named = [*raw.named, ("waybill-headers", column), ("id", str(message.id).encode())]
    assert to_record(raw).message.headers == {"x-a": b"\x01", "x-b": b""}


def test_cloud_event_of_a_stranger_is_understood() -> None:
    """`ce_id`, `ce_type` and `ce_time` say all that a consumer needs."""
    named = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"0199b1a0-0000-7000-8000-000000000001"),
        ("ce_type", b"OrderCreated"),
        ("ce_time", b"2026-11-21T10:00:00"),
        ("tenant", b"a"),
    ]
    message = to_record(Raw(named)).message
    assert (message.type, message.key) == ("OrderCreated", "order-1")
    assert message.occurred_at == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert message.headers == {"tenant": b"a"}


def test_stranger_s_record_is_read_by_whoever_knows_its_value() -> None:
    """A function of the blueprint gets all of it and says which message it is."""
    known = a_message("k")
    asked: list[ForeignRecord] = []

    def read(record: ForeignRecord) -> Message:
        asked.append(record)
        return known

    record = to_record(Raw([("tenant", b"a"), ("empty", None)], b'{"eventType":"X"}'), read)
    assert record.message is known
    (foreign,) = asked
    assert (foreign.topic, foreign.partition, foreign.offset) == ("order-events", 4, 77)
    assert foreign.headers == {"tenant": b"a", "empty": b""}
    assert foreign.value == b'{"eventType":"X"}'
    assert foreign.timestamp == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)


def test_record_that_nobody_understands_ends_as_a_dead_letter() -> None:
    """Its type is unknown, so skipping it would swallow it; a repeat of it has the same id."""

    def read(_: ForeignRecord) -> Message:
        raise UndecodableMessageError("no envelope")

    record = to_record(Raw(content=b"not JSON", name=b"\xff\x00"), read)
    assert record.message.type == UNREADABLE_TYPE
    assert record.message.value == b"not JSON"
    assert record.message.key == "\\xff\\x00"
    assert b"no envelope" in record.message.headers[UNREADABLE_HEADER]
    assert to_record(Raw(), read).message.id == record.message.id
    codec = JsonCodec([EventType(ForeignRecord, "Foreign", "order-events")])
    sorter = Sorter("c", codec, [ForeignRecord], ConsumerPolicy())
    batch = sorter.sort(Batch((record,), Positions({})))
    assert "no envelope" in batch.letters[0].error_message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eventId", b"42"),
        ("eventVersion", b"many"),
        ("eventVersion", b"-1"),
        ("eventVersion", b"99999999999"),
        ("aggregateVersion", b"99999999999999999999"),
        ("ce_time", b"yesterday"),
        ("ce_time", b"0001-01-01T00:00:00+14:00"),
        ("ce_time", b"9999-12-31T23:59:59-14:00"),
        ("correlationId", b"c" * (TEXT_CHARS_MAX + 1)),
        ("traceparent", b"t" * (TEXT_CHARS_MAX + 1)),
        ("causationId", b"\xff"),
        ("waybill-headers", b"{"),
    ],
)
def test_header_that_makes_no_sense_is_no_error_of_ours(name: str, value: bytes) -> None:
    """The record becomes a dead letter with all its headers, and the ones behind it go on."""
    raw = sent(a_message("k"))
    raw.named = [*raw.named, (name, value)]
    message = to_record(raw).message
    assert message.type == UNREADABLE_TYPE
    assert message.headers[name] == value
    assert message.correlation_id == ("" if name == "correlationId" else "k")


@pytest.mark.parametrize(("count", "is_told"), [(500, True), (501, False)])
def test_where_an_unreadable_record_belongs_is_told(count: int, *, is_told: bool) -> None:
    """Its log line and its trace have what its headers say, though nobody understands the rest."""
    told = [(name, b"t" * count) for name in ("correlationId", "traceparent")]
    message = to_record(Raw(told, b"not JSON")).message
    assert message.type == UNREADABLE_TYPE
    expected = "t" * count if is_told else ""
    assert (message.correlation_id, message.traceparent) == (expected, expected or None)
    assert message.headers["correlationId"] == b"t" * count


def test_key_that_no_column_holds_is_kept_in_a_header() -> None:
    """The letter has its beginning as its key, and loses none of it; a shorter one is nothing."""
    raw = sent(a_message("k" * TEXT_CHARS_MAX))
    assert to_record(raw).message.key == "k" * TEXT_CHARS_MAX
    raw.name = b"k" * (TEXT_CHARS_MAX + 1)
    message = to_record(raw).message
    assert (message.type, message.key) == (UNREADABLE_TYPE, "k" * 500)
    assert message.headers[ORIGINAL_KEY_HEADER] == raw.name


@pytest.mark.parametrize(("given", "year"), [(-(2**63), 1970), (2**63 - 1, 9000)])
def test_any_number_is_a_record_s_time(given: int, year: int) -> None:
    """A producer writes what it likes, and older brokers take it."""
    assert to_record(Raw(milliseconds=given)).message.occurred_at.year == year


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["eventId", "eventType", "ce_time", "correlationId", "x", "a\x00b"]),
            st.none() | st.binary(max_size=40),
        )
    ),
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=40),
)
def test_whatever_a_record_holds_a_database_takes_its_message(
    named: Sequence[tuple[str, bytes | None]], key: bytes | None, value: bytes | None
) -> None:
    """Never an error, no U+0000 and no lone surrogate in what becomes text."""
    record = to_record(Raw(named, value, key))
    texts = (record.message.key, record.message.type, record.message.correlation_id)
    for text in (*texts, *record.message.headers):
        assert "\x00" not in text
        text.encode()

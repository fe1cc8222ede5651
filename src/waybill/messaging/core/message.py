"""The message: what is sent, with everything that travels beside its value."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import attrgetter
from uuid import UUID

import msgspec

DEAD_LETTER_SUFFIX = ".DLT"
DEAD_LETTER_SUFFIXES = (DEAD_LETTER_SUFFIX, ".dlq")
"""What a dead letter's topic may be called: its records have a lane of their own."""
UNREADABLE_TYPE = "unreadable"
UNREADABLE_HEADER = "waybill-unreadable"
"""Why nobody understands a message; one of UNREADABLE_TYPE has it and ends as a dead letter."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TEXT_CHARS_MAX = 16_000
"""Of each text of an envelope: a column of MariaDB has 65,535 bytes, a character up to four."""
INTEGER_MAX, BIGINT_MAX = 2**31 - 1, 2**63 - 1
YEARS = range(1000, 9001)
"""Of `occurred_at`: every database has these, and in every time zone."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One command or event with its envelope. `id` is the one identity that dedupes it.

    `key` is the partition key (the aggregate's id): messages of one key keep their order.
    `value` is the record's value as it stands on the wire; a codec makes an event of it.
    `causation_id` is the id of the message that caused this one, `correlation_id` the
    conversation's. `traceparent` is the W3C trace context in which the message was created.
    `headers` are the ones beside those that the fields stand for.
    """

    id: UUID
    topic: str
    type: str
    key: str
    value: bytes
    occurred_at: datetime
    version: int = 1
    aggregate_type: str = ""
    aggregate_version: int | None = None
    correlation_id: str = ""
    causation_id: UUID | None = None
    traceparent: str | None = None
    producer: str = ""
    headers: dict[str, bytes] = {}


class ForeignRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stranger's record, without headers of ours: a blueprint knows what its value means."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: dict[str, bytes]
    timestamp: datetime


class Record(msgspec.Struct, frozen=True):
    """A message where it stands in a log: source, lane (or partition) and seq (or offset)."""

    source: str
    lane: int
    seq: int
    message: Message


class Appended(msgspec.Struct, frozen=True):
    """A message where a commit has put it. No row of its lane stands between `before` and `seq`.

    So a reader that has read its lane up to `before` may take the message as read.
    """

    lane: int
    before: int
    seq: int
    message: Message


class Positions(msgspec.Struct, frozen=True):
    """How far a reader is: `(source, lane) -> (seq, id of the row there or None)`.

    Covers every row scanned, of any topic (protocol D2).
    """

    lanes: dict[tuple[str, int], tuple[int, UUID | None]]

    def __bool__(self) -> bool:
        return bool(self.lanes)


in_partition_order = attrgetter("source", "lane")
"""Sorts records; of one partition they keep their order."""


class Batch(msgspec.Struct, frozen=True):
    """Records in partition order (ascending seq inside a lane), and the positions behind them.

    `scanned` goes beyond the last record where rows of other topics were passed over.
    """

    records: tuple[Record, ...]
    scanned: Positions

    def followed_by(self, later: Batch) -> Batch:
        """One batch of both, where `later` was fetched after this one."""
        records = sorted((*self.records, *later.records), key=in_partition_order)
        return Batch(tuple(records), Positions({**self.scanned.lanes, **later.scanned.lanes}))

    def part(self, start: int, stop: int) -> Batch:
        """The slice of records, with the positions that are safe once exactly it is done.

        Parts must be finished left to right; the last part carries all that was scanned.
        """
        records = self.records[start:stop]
        if stop >= len(self.records):
            return Batch(records, self.scanned)
        reached: dict[tuple[str, int], tuple[int, UUID | None]] = {
            (record.source, record.lane): (record.seq, record.message.id) for record in records
        }
        return Batch(records, Positions(reached))


def storable(text: str) -> str:
    """Without what a database's text refuses: U+0000 and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def check_storable(message: Message) -> None:
    """Raise ValueError for an envelope that not every database's columns hold, by its field.

    Asked of every message that a stranger may have written: a dead letter stores all of it.
    """
    if message.occurred_at.year not in YEARS:
        raise ValueError(f"occurred_at {message.occurred_at} is not of the years 1000 to 9000")
    if not 0 <= message.version <= INTEGER_MAX:
        raise ValueError(f"{message.version} is no version")
    if message.aggregate_version is not None and not 0 <= message.aggregate_version <= BIGINT_MAX:
        raise ValueError(f"{message.aggregate_version} is no aggregate_version")
    for name in _TEXTS:
        text = getattr(message, name)
        if text is not None and (len(text) > TEXT_CHARS_MAX or "\x00" in text):
            raise ValueError(f"{name} has U+0000, or more than {TEXT_CHARS_MAX} characters")
        if text is not None and not text.isascii():
            text.encode()  # a lone surrogate: UnicodeEncodeError is a ValueError


_TEXTS = ("key", "type", "correlation_id", "traceparent", "producer", "aggregate_type")

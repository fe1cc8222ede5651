"""The pure values of messaging: ids, lanes, backoff, batches, the JSON codec."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.messaging.core.codec import EventType, JsonCodec
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError
from waybill.messaging.core.identity import BufferedRandomBits, UuidFactory, new_id
from waybill.messaging.core.lanes import LANE_COUNT, lane_of
from waybill.messaging.core.message import Batch, Message, Positions, Record
from waybill.messaging.core.retry import Backoff

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Paid(msgspec.Struct, frozen=True):
    amount: Decimal


class Shipped(msgspec.Struct, frozen=True):
    parcel: int


def message(value: bytes, *, name: str = "Paid", version: int = 1) -> Message:
    """A message of these bytes."""
    return Message(
        id=new_id(), topic="t", type=name, key="k", value=value, occurred_at=NOW, version=version
    )


FORKS = """
import os
from waybill.messaging.core.identity import UuidFactory, new_id

new_id()  # as a server does that loads an application before it forks its workers
same_instant = UuidFactory(milliseconds=lambda: 1)
same_instant()
for _ in range(2):
    if os.fork() == 0:
        os.write(1, f"{same_instant()} ".encode())
        os._exit(0)
    os.wait()
os.write(1, f"{same_instant()}".encode())
"""


def test_processes_that_were_forked_make_ids_of_their_own() -> None:
    """P3: workers that share a start draw different bits, or one's message would be another's."""
    answer = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(set(answer.stdout.split())) == 3


def test_ids_are_version_7_and_ascend_even_when_the_clock_goes_back() -> None:
    """An id is a UUIDv7 greater than every earlier one of its factory."""
    clock = iter([1000, 1000, 999, 1001, 5] + [5] * 100)
    make = UuidFactory(milliseconds=lambda: next(clock))
    ids = [make() for _ in range(105)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {"specified in RFC 4122"}
    assert [one.int >> 80 for one in ids[:4]] == [1000, 1000, 1000, 1001]


@given(st.lists(st.integers(min_value=1, max_value=90), min_size=1, max_size=60))
def test_buffered_random_bits_fill_every_width(widths: list[int]) -> None:
    """Each draw lies in its range, whatever was drawn before."""
    draw = BufferedRandomBits(block_bytes=16)
    assert all(0 <= draw(width) < 1 << width for width in widths)


def test_two_sources_of_random_bits_differ() -> None:
    """Ids of two processes do not collide: each draws from the kernel."""
    assert BufferedRandomBits()(128) != BufferedRandomBits()(128)


@given(st.text())
def test_o4_a_lane_is_crc32_of_the_key_modulo_16(key: str) -> None:
    """Protocol O4: the lane is a specified hash of the key's UTF-8 bytes, never Python's."""
    assert lane_of(key) == crc32(key.encode()) % LANE_COUNT


def test_o4_lanes_of_known_keys_never_change() -> None:
    """Protocol O4: two lanes for one key would lose its order, so these are for ever."""
    known = {"": 0, "1": 7, "d3f1a2b4-1111-4222-8333-444455556666": 9, "Ä": 11}
    assert {key: lane_of(key) for key in known} == known


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0, max_value=0.999))
def test_l5_no_backoff_exceeds_its_cap(attempt: int, chance: float) -> None:
    """Protocol L5: a delay is between zero and the cap of ten seconds, for any attempt."""
    assert 0 <= Backoff().delay_seconds(attempt, lambda: chance) <= 10.0


def record(lane: int, seq: int) -> Record:
    """A record at this place."""
    return Record("s", lane, seq, message(b"{}"))


def test_c4_a_part_of_a_batch_carries_the_positions_of_exactly_its_records() -> None:
    """Protocol C4: a left part moves only the lanes it has finished; the last part moves all."""
    records = (record(0, 1), record(0, 5), record(1, 2))
    scanned = Positions({("s", 0): (9, None), ("s", 1): (2, records[2].message.id)})
    batch = Batch(records, scanned)
    assert batch.part(0, 1).scanned.lanes == {("s", 0): (1, records[0].message.id)}
    assert batch.part(0, 2).scanned.lanes == {("s", 0): (5, records[1].message.id)}
    assert batch.part(2, 3).scanned == scanned


CODEC = JsonCodec([EventType(Paid, "payments", "Paid"), EventType(Shipped, "parcels", "Shipped")])


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2))
def test_money_goes_through_the_codec_exactly(amount: Decimal) -> None:
    """A Decimal is a JSON number and comes back equal, to the last digit."""
    event = Paid(amount)
    assert CODEC.decode(message(CODEC.encode(event, message(b"")))) == event


def test_c9_a_type_nobody_registered_is_none() -> None:
    """Protocol C9: an unknown type is skipped, not an error."""
    assert CODEC.decode(message(b"{}", name="Lost")) is None


@given(st.binary())
def test_c7_bytes_that_are_no_event_are_undecodable_and_nothing_else(value: bytes) -> None:
    """Protocol C7: whatever the bytes, the codec gives an event or UndecodableMessageError."""
    with suppress(UndecodableMessageError):
        assert isinstance(CODEC.decode(message(value)), Paid)


def test_a_newer_version_is_undecodable_and_an_older_one_is_upcast() -> None:
    """C39: a reader takes its own and older versions; a newer one waits for a newer reader."""
    codec = JsonCodec(
        [EventType(Paid, "p", "Paid", version=2, upcasts={1: lambda d: {"amount": d["sum"]}})]
    )
    assert codec.decode(message(b'{"sum": 3}')) == Paid(Decimal(3))
    assert codec.decode(message(b'{"amount": 3}', version=2)) == Paid(Decimal(3))
    with pytest.raises(UndecodableMessageError, match="newer reader"):
        codec.decode(message(b"{}", version=3))
    with pytest.raises(UndecodableMessageError, match="no upcast from version 0"):
        codec.decode(message(b"{}", version=0))


def test_topics_and_names_of_types_and_a_foreign_type_refused() -> None:
    """A consumer learns its topics from its types, and refuses to start on a foreign one."""
    assert CODEC.topics([Paid, Shipped]) == {"payments", "parcels"}
    assert CODEC.names([Shipped]) == {"Shipped"}
    for of in (CODEC.topics, CODEC.names):
        with pytest.raises(ConfigurationError, match="not registered"):
            of([int])
    with pytest.raises(ConfigurationError, match="share one name"):
        JsonCodec([EventType(Paid, "a", "X"), EventType(Shipped, "b", "X")])

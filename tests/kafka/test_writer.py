"""The writing end of Kafka: order, keys, headers, and records that the broker refuses."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.kafka.reading import name_of, read, read_all, settings_for

from waybill.messaging.adapters.kafka.admin import Admin
from waybill.messaging.adapters.kafka.firsts import partition_of
from waybill.messaging.adapters.kafka.runs import Run
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.core.errors import (
    ConfigurationError,
    TransientError,
    UnsendableError,
)
from waybill.messaging.core.message import Message, Record
from waybill.messaging.core.ports import Written
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from confluent_kafka import Message as KafkaMessage
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec
    from tests.kafka.broker import OtherBroker

    from waybill.messaging.adapters.kafka.admin import Place
    from waybill.messaging.adapters.kafka.settings import KafkaSettings

REFUSED_BYTES = 10_000
HASHES = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
}


def records(messages: Sequence[Message], lane: int = 3) -> list[Record]:
    """As a relay reads them from one lane."""
    return [Record("parcels", lane, seq, each) for seq, each in enumerate(messages, start=1)]


@pytest.fixture
async def small_topic(kafka: OtherBroker) -> str:
    """Takes batches of 2,000 bytes."""
    name = name_of("small")
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    made = NewTopic(name, num_partitions=1, config={"max.message.bytes": "2000"})
    await asyncio.wrap_future(client.create_topics([made])[name])
    return name


@pytest.fixture
async def writer(settings: KafkaSettings) -> AsyncIterator[KafkaLogWriter]:
    """Closed at the end."""
    opened = KafkaLogWriter(settings)
    yield opened
    await opened.close()


async def test_keys_are_where_a_java_client_looks_for_them(
    writer: KafkaLogWriter, topic: str, kafka: OtherBroker
) -> None:
    """The partition is `toPositive(murmur2(key)) % 6`, with the hashes of Kafka's own tests."""
    await writer.write(records([a_message(key, topic=topic) for key in HASHES]))
    found = await read(kafka.bootstrap, topic, len(HASHES))
    assert {each.key: each.partition for each in found} == {
        key: (number & 0x7FFFFFFF) % 6 for key, number in HASHES.items()
    }


async def test_headers_tell_a_stranger_what_it_is(
    writer: KafkaLogWriter, topic: str, kafka: OtherBroker
) -> None:
    """The documented headers, CloudEvents' binary mode and the trace context, all of it text."""
    message = a_message(
        "order-1",
        topic=topic,
        type="OrderCreated",
        producer="order-service",
        correlation_id="conversation",
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    await writer.write(records([message]))
    (found,) = await read(kafka.bootstrap, topic, 1)
    headers = {name: value.decode() for name, value in found.headers.items()}
    assert headers == {
        "eventId": str(message.id),
        "eventType": "OrderCreated",
        "eventVersion": "1",
        "correlationId": "conversation",
        "producer": "order-service",
        "traceparent": message.traceparent,
        "ce_specversion": "1.0",
        "ce_id": str(message.id),
        "ce_type": "OrderCreated",
        "ce_source": "/order-service",
        "ce_subject": "order-1",
        "ce_time": message.occurred_at.isoformat().replace("+00:00", "Z"),
        "content-type": "application/json",
    }
    assert found.value == message.value


async def test_dead_letter_has_its_binary_headers_and_the_id_of_its_original(
    writer: KafkaLogWriter, topic: str, kafka: OtherBroker
) -> None:
    """As Spring Kafka writes them; copied back it is known to those who have applied it."""
    original = a_message("k")
    places = {
        "kafka_dlt-original-topic": b"parcel-events",
        "kafka_dlt-original-partition": struct.pack(">i", 5),
        "kafka_dlt-original-offset": struct.pack(">q", 2**40),
    }
    letter = a_message("k", topic=topic, causation_id=original.id, headers=places)
    await writer.write(records([letter], lane=16))
    (found,) = await read(kafka.bootstrap, topic, 1)
    headers = found.headers
    assert {name: headers[name] for name in places} == places
    assert headers["eventId"] == headers["ce_id"] == str(original.id).encode()


async def test_many_runs_of_many_lanes_arrive_in_the_order_of_each_key(
    writer: KafkaLogWriter, topic: str, kafka: OtherBroker
) -> None:
    """Protocol L2: runs that are under way together keep the order of their calls."""
    runs = [
        records([a_message(f"{lane}-{n % 5}", topic=topic) for n in range(40)], lane)
        for _ in range(10)
        for lane in range(4)
    ]
    written = await asyncio.gather(*(writer.write(run) for run in runs))
    assert all(each.acknowledged == 40 and each.error is None for each in written)
    by_key: dict[str, list[str]] = {}
    for run in runs:
        for record in run:
            by_key.setdefault(record.message.key, []).append(str(record.message.id))
    arrived: dict[str, list[str]] = {}
    for each in await read(kafka.bootstrap, topic, 1600):
        arrived.setdefault(each.key, []).append(each.headers["eventId"].decode())
    assert arrived == by_key


async def test_a_record_without_an_offset_is_not_written() -> None:
    """Protocol L2: a broker that calls a record a repeat has not shown that it has it."""
    run = Run(records([a_message("k"), a_message("k")]), lambda _: None)
    run.sent = run.in_flight = 2
    run.reported(0, None, cast("KafkaMessage", SimpleNamespace(offset=lambda: 7)))
    run.reported(1, None, cast("KafkaMessage", SimpleNamespace(offset=lambda: None)))
    assert run.done.is_set()
    assert run.from_start() == 1
    assert isinstance(run.error, TransientError)


async def test_record_that_the_broker_refuses_is_found_and_nothing_goes_past_it(
    writer: KafkaLogWriter, small_topic: str, kafka: OtherBroker
) -> None:
    """Protocol L4: only the broker knows this topic's limit; what stands behind is not written."""
    sent = [a_message("k", topic=small_topic) for _ in range(9)]
    sent[4] = a_message("k", topic=small_topic, value=b"x" * REFUSED_BYTES)
    written, later = await asyncio.gather(
        writer.write(records(sent)),
        writer.write(records([a_message("k", topic=small_topic)])),
    )
    assert written.acknowledged == 4
    assert isinstance(written.error, UnsendableError)
    assert isinstance(later.error, TransientError)
    rest = await writer.write(records(sent[5:]))
    assert (rest.acknowledged, rest.error) == (4, None)
    found = await read(kafka.bootstrap, small_topic, 8)
    ids = [each.headers["eventId"].decode() for each in found]
    assert ids == [str(each.id) for n, each in enumerate(sent) if n != 4]


async def test_runs_that_a_refused_batch_leaves_behind_are_sent_in_the_order_of_their_calls(
    writer: KafkaLogWriter, small_topic: str, kafka: OtherBroker
) -> None:
    """Protocol L2, L4: the last report of the first run comes behind those of the second."""
    known = a_message("k", topic=small_topic)
    assert (await writer.write(records([known]))).error is None
    reported_late = a_message("k", topic=name_of("nowhere"))
    huge = a_message("k", topic=small_topic, value=b"x" * REFUSED_BYTES)
    written, behind = await asyncio.gather(
        writer.write(records([reported_late, huge])),
        writer.write(records([a_message("k", topic=small_topic)])),
    )
    assert (written.acknowledged, type(written.error)) == (0, TransientError)
    assert (behind.acknowledged, type(behind.error)) == (0, TransientError)
    last = a_message("k", topic=small_topic)
    assert (await writer.write(records([last]))).error is None
    found = await read_all(kafka.bootstrap, small_topic)
    ids = [each.headers["eventId"].decode() for each in found]
    assert ids == [str(known.id), str(last.id)]


async def test_nothing_goes_past_the_first_record_of_a_producer_if_it_is_refused(
    settings: KafkaSettings, small_topic: str, kafka: OtherBroker
) -> None:
    """Protocol L4: each record is a request of its own here, five of them are sent at once."""
    alone = {"batch.num.messages": "1"}
    writer = KafkaLogWriter(replace(settings, partitions=1, properties=alone))
    huge = a_message("k", topic=small_topic, value=b"x" * REFUSED_BYTES)
    behind = [a_message("k", topic=small_topic) for _ in range(5)]
    refused = await writer.write(records([huge, *behind]))
    await writer.close()
    assert (refused.acknowledged, type(refused.error)) == (0, UnsendableError)
    assert await read_all(kafka.bootstrap, small_topic) == []


@pytest.mark.parametrize("partitions", [1, 3, 6])
def test_keys_are_known_to_be_where_librdkafka_puts_them(partitions: int) -> None:
    """The hashes of Kafka's own tests, by which `test_keys_are_where_a_java_client…` finds them."""
    for key, number in HASHES.items():
        assert partition_of(key.encode(), partitions) == (number & 0x7FFFFFFF) % partitions


async def test_other_lanes_go_on_behind_a_record_that_is_refused(
    writer: KafkaLogWriter, small_topic: str
) -> None:
    """Protocol L4, O4: what was under way in them is sent, and so is all that comes later."""
    huge = a_message("k", topic=small_topic, value=b"x" * REFUSED_BYTES)
    lanes = range(5, 9)
    refused, *others = await asyncio.gather(
        writer.write(records([huge])),
        *(writer.write(records([a_message("o", topic=small_topic)], lane)) for lane in lanes),
    )
    assert isinstance(refused.error, UnsendableError)
    assert [each.error for each in others] == [None] * len(lanes)
    for lane in (3, *lanes):
        written = await writer.write(records([a_message("o", topic=small_topic)], lane))
        assert (written.acknowledged, written.error) == (1, None)


async def test_batch_that_is_too_large_as_a_whole_is_sent(
    writer: KafkaLogWriter, small_topic: str
) -> None:
    """Protocol L4: a topic that takes less than a batch takes its records; none is held for it."""
    sent = [a_message("k", topic=small_topic, value=b"x" * 900) for _ in range(12)]
    written = await writer.write(records(sent))
    assert (written.acknowledged, written.error) == (12, None)


async def test_record_beyond_our_own_limit_is_refused_at_once(
    settings: KafkaSettings, topic: str
) -> None:
    """Protocol L4: those before it are written."""
    writer = KafkaLogWriter(replace(settings, record_bytes_max=2_000))
    sent = [a_message("k", topic=topic) for _ in range(3)]
    sent[1] = a_message("k", topic=topic, value=b"x" * 3_000)
    written = await writer.write(records(sent))
    await writer.close()
    assert written.acknowledged == 1
    assert isinstance(written.error, UnsendableError)


async def test_missing_topic_is_an_outage(writer: KafkaLogWriter) -> None:
    """Protocol L4: no record is held because an operator has not created a topic yet."""
    written = await writer.write(records([a_message("k", topic=name_of("nowhere"))]))
    assert written.acknowledged == 0
    assert isinstance(written.error, TransientError)
    assert "create it" in str(written.error)


async def test_memory_is_bounded_while_records_wait(settings: KafkaSettings, topic: str) -> None:
    """A run waits for room, in order, when more records are in flight than allowed."""
    writer = KafkaLogWriter(replace(settings, in_flight_records_max=20, in_flight_bytes_max=4096))
    runs = [records([a_message("k", topic=topic) for _ in range(10)]) for _ in range(8)]
    written = await asyncio.gather(*(writer.write(run) for run in runs))
    await writer.close()
    assert [each.acknowledged for each in written] == [10] * 8


async def test_a_run_that_waits_ends_with_the_one_before_it(
    settings: KafkaSettings, topic: str, kafka: OtherBroker
) -> None:
    """Protocol L2, L4: room was short when they came, and the first to get some fails."""
    narrow = replace(settings, in_flight_records_max=1, record_bytes_max=2_000)
    writer = KafkaLogWriter(narrow)
    huge = a_message("k", topic=topic, value=b"x" * 3_000)
    first, second, last = (a_message("k", topic=topic) for _ in range(3))
    other = a_message("o", topic=topic)
    fits, refused, behind, of_another_lane = await asyncio.gather(
        writer.write(records([first])),
        writer.write(records([huge])),
        writer.write(records([second])),
        writer.write(records([other], lane=5)),
    )
    assert (fits.error, of_another_lane.error) == (None, None)
    assert isinstance(refused.error, UnsendableError)
    assert (behind.acknowledged, type(behind.error)) == (0, TransientError)
    assert (await writer.write(records([last]))).error is None
    await writer.close()
    found = [each for each in await read(kafka.bootstrap, topic, 3) if each.key == "k"]
    assert [each.headers["eventId"].decode() for each in found] == [str(first.id), str(last.id)]


async def test_a_run_before_one_that_fails_is_not_touched(
    settings: KafkaSettings, topic: str
) -> None:
    """Protocol L2: it is under way when the next is refused, and need not be sent again."""
    writer = KafkaLogWriter(replace(settings, record_bytes_max=2_000))
    huge = a_message("k", topic=topic, value=b"x" * 3_000)
    before, refused = await asyncio.gather(
        writer.write(records([a_message("k", topic=topic)])), writer.write(records([huge]))
    )
    await writer.close()
    assert isinstance(refused.error, UnsendableError)
    assert (before.acknowledged, before.error) == (1, None)


async def test_what_no_header_can_carry_ends_the_runs_behind_it_too(
    settings: KafkaSettings, topic: str
) -> None:
    """Protocol L2: an error that nobody foresaw is an error: nothing goes past its record."""
    writer = KafkaLogWriter(replace(settings, in_flight_records_max=1))
    odd = a_message("k", topic=topic, type="\udc80")
    runs = [[a_message("k", topic=topic)], [odd], [a_message("k", topic=topic)]]
    fits, failed, behind = await asyncio.gather(
        *(writer.write(records(run)) for run in runs), return_exceptions=True
    )
    await writer.close()
    assert isinstance(fits, Written)
    assert isinstance(failed, UnicodeEncodeError)
    assert isinstance(behind, Written)
    assert (fits.error, behind.acknowledged, type(behind.error)) == (None, 0, TransientError)


async def test_a_purge_ends_runs_that_wait_for_room() -> None:
    """Protocol L3: of a lane that is another's now nothing is sent when the broker is back."""
    writer = KafkaLogWriter(replace(settings_for("127.0.0.1:9"), in_flight_records_max=1))
    runs = [records([a_message("k", topic="t")], lane) for lane in range(4)]
    writing = [asyncio.create_task(writer.write(run)) for run in runs]
    await asyncio.sleep(0)
    await writer.purge()
    async with asyncio.timeout(5.0):
        written = await asyncio.gather(*writing)
    assert [type(each.error) for each in written] == [TransientError] * 4
    await writer.close()


async def test_identity_is_the_cluster_s(writer: KafkaLogWriter, settings: KafkaSettings) -> None:
    """Protocol L1: positions mean something in one cluster only."""
    identity = await writer.identity()
    assert identity == f"kafka:{await Topics(settings).cluster_id()}"


async def test_close_ends_what_waits_for_a_broker() -> None:
    """Draining does not wait for a broker that is away."""
    writer = KafkaLogWriter(settings_for("127.0.0.1:9"))
    writing = asyncio.create_task(writer.write(records([a_message("k", topic="t")])))
    await asyncio.sleep(0.05)
    assert not writing.done()
    async with asyncio.timeout(5.0):
        await writer.close()
        written = await writing
        await writer.close()
    assert written.acknowledged == 0
    assert isinstance(written.error, TransientError)


async def test_a_topic_is_ready_once_each_partition_answers(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol L2: before it does, it may take a producer's second batch for the first."""
    offsets, asked = Admin.offsets, 0

    async def later(
        admin: Admin, partitions: Iterable[TopicPartition], spec: OffsetSpec
    ) -> dict[Place, int]:
        nonlocal asked
        asked += 1
        found = await offsets(admin, partitions, spec)
        return found if asked == 3 else dict(list(found.items())[1:])

    monkeypatch.setattr(Admin, "offsets", later)
    await Topics(settings).prepare([name_of("slow")])
    assert asked == 3


async def test_topics_are_made_once_and_another_number_of_partitions_is_refused(
    settings: KafkaSettings,
) -> None:
    """Protocol C11: with another number a key would move and lose its order."""
    name = name_of("parcels")
    await asyncio.gather(Topics(settings).prepare([name]), Topics(settings).prepare([name]))
    assert (await Topics(settings).describe([name]))[name][1] == 6
    with pytest.raises(ConfigurationError, match="set it to 6 in every service"):
        await Topics(replace(settings, partitions=3)).prepare([name])

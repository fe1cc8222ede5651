"""The audit of a platform on Kafka reads the topics themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from confluent_kafka import Producer
from tests.kafka.broker import running_broker
from tests.kafka.group_world import fresh_topics
from tests.kafka.reading import settings_for
from tests.operations.audit.filled import audited, execute, value
from tests.operations.audit.test_relayed import ALL_SENT, SERVICES

from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.adapters.kafka.producer import producer_properties
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.topics import read_topic
from waybill.messaging.core.identity import new_id
from waybill.operations.audit.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confluent_kafka import Message as Place
    from tests.operations.audit.filled import Filled

    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Record
    from waybill.operations.audit.report import RuleResult

TOPICS = [
    name + end
    for name in ("order-events", "inventory-events", "payment-events")
    for end in ("", ".DLT")
]
TOPIC_RULES = ("I16", "I17", "I20", "I21")
LAST = "SELECT id::text FROM messaging.outbox WHERE lane < 16 ORDER BY seq DESC LIMIT 1"

GARBAGE = b"{no event"
# A record that no reader understood, where it stands in its topic, and a verdict on it.
LETTER = """
INSERT INTO messaging.dead_letters (
    id, consumer, message_id, source, topic, lane, seq, key, value, type, version, aggregate_type,
    correlation_id, producer, headers, occurred_at, error_type, error_message, stacktrace, verdict,
    verdict_by, verdict_reason, verdict_at
) VALUES (
    '{id}', 'notification-service', '{message_id}', '{topic}', '{topic}', {lane}, {seq}, '{key}',
    '{value}', 'StockReserved', 1, 'Order', '{key}', 'inventory-service', '{{}}', clock_timestamp(),
    'E', 'e', 's', '{verdict}', 'somebody', 'a stranger', clock_timestamp()
)
"""
TOLD = """
INSERT INTO messaging.outbox (
    seq, lane, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id,
    causation_id, producer, headers, occurred_at
) VALUES (
    nextval('messaging.outbox_seq'), 16, '{id}', 'Order', '{key}', 'StockReserved', '{value}', 1,
    '{topic}.DLT', '{key}', '{message_id}', 'inventory-service', '{{"kafka_dlt-original-topic": "",
    "kafka_dlt-original-consumer-group": "", "kafka_dlt-exception-fqcn": ""}}', clock_timestamp()
)
"""
APPLIED = """
INSERT INTO messaging.inbox (consumer, message_id) VALUES ('another', '{message_id}')
"""
KAFKA_DLT = {
    "kafka_dlt-original-topic": b"inventory-events",
    "kafka_dlt-original-consumer-group": b"notification-service",
}

TAKEN_DIRECTLY = """
UPDATE messaging.consumer_source SET positions = array_fill(1000000::bigint, ARRAY[17])
"""


def with_message(record: Record, **changes: Any) -> Record:  # noqa: ANN401 - a message's own
    """The same record with another message."""
    return msgspec.structs.replace(
        record, message=msgspec.structs.replace(record.message, **changes)
    )


class Platform:
    """Outboxes that say that all is sent, and topics that hold it."""

    def __init__(self, urls: dict[str, str], settings: KafkaSettings) -> None:
        self.urls = urls
        self.settings = settings
        self.records: list[Record] = []

    async def send(self, *, but: str = "") -> None:
        """Write every outbox to its topics, but for the message of this id."""
        await fresh_topics(self.settings, TOPICS)
        databases = {
            service: await PostgresDatabase.connect(
                self.urls[service], PostgresSettings(pool_max=1)
            )
            for service in SERVICES
        }
        writer = KafkaLogWriter(self.settings)
        for topic in TOPICS:
            found = [each async for each in read_topic(databases, topic)]
            self.records += found
            written = await writer.write([each for each in found if str(each.message.id) != but])
            assert written.error is None
        await writer.close()
        for database in databases.values():
            await database.close()

    def one(self, type_: str) -> Record:
        """The first record of a type."""
        return next(each for each in self.records if each.message.type == type_)

    def last(self, type_: str) -> Record:
        """One of a type behind which its order has no other on its topic."""
        last = {(each.message.topic, each.message.key): each for each in self.records}
        return next(each for each in last.values() if each.message.type == type_)

    def plant(self, record: Record, *, partition: int = -1) -> list[Place]:
        """A record that no relay wrote, and where it stands now."""
        places: list[Place] = []
        producer = Producer(producer_properties(self.settings, gapless=False))
        message = record.message
        producer.produce(
            message.topic,
            message.value,
            message.key,
            headers=to_headers(message),
            partition=partition,
            on_delivery=lambda _error, written: places.append(written),
        )
        assert producer.flush(30) == 0
        return places

    def letter(
        self, record: Record, verdict: str, *, partition: int = -1, is_told: bool = True
    ) -> Place:
        """Garbage under a record's headers, and the dead letter that tells of it; where it is.

        An outbox says that its record on the dead letter topic is sent; `is_told` says the truth.
        """
        (place,) = self.plant(with_message(record, value=GARBAGE), partition=partition)
        message = record.message
        letter = {
            "id": new_id(),
            "message_id": message.id,
            "topic": message.topic,
            "lane": place.partition(),
            "seq": place.offset(),
            "key": message.key,
            "value": f"\\x{GARBAGE.hex()}",
            "verdict": verdict,
        }
        told = {**letter, "id": new_id()}
        statements = [LETTER.format(**letter), TOLD.format(**told), *ALL_SENT]
        asyncio.run(execute(self.urls["notification"], statements))
        record_of_it = with_message(
            record,
            id=told["id"],
            causation_id=message.id,
            topic=f"{message.topic}.DLT",
            value=GARBAGE,
            headers=KAFKA_DLT,
            aggregate_version=None,
        )
        if is_told:
            self.plant(record_of_it)
        return place

    def looked_at(self) -> dict[str, RuleResult]:
        """What the rules of topics found, by rule; all others are clean."""
        report = audited(self.urls, settle_seconds=3, still_seconds=0.5, kafka=self.settings)
        assert report.quiescent, report.told()
        assert {rule.id for rule in report.violated} <= {*TOPIC_RULES}, report.told()
        return {rule.id: rule for rule in report.rules}


@pytest.fixture(scope="module")
def settings(session_directory: Path) -> Iterator[KafkaSettings]:
    """Of a broker of these tests alone: the topics have the platform's own names."""
    with running_broker(session_directory / "audited") as broker:
        yield settings_for(broker.bootstrap)


@pytest.fixture
def platform(filled: Filled, settings: KafkaSettings) -> Iterator[Platform]:
    """As if a relay had sent everything that the filled databases hold."""
    with filled.copies(SERVICES) as copies:
        for service in SERVICES:
            asyncio.run(execute(copies[service], ALL_SENT))
        yield Platform(copies, settings)


def test_what_the_outboxes_sent_is_in_the_topics_once_in_order(platform: Platform) -> None:
    """I16, I17, I20, I21: clean; then a repeat, which consumers leave out, is clean too."""
    asyncio.run(platform.send())
    platform.plant(platform.one("OrderCreated"))
    found = platform.looked_at()
    assert {found[id_].outcome for id_ in TOPIC_RULES} == {Outcome.CLEAN}
    assert audited(platform.urls, settle_seconds=3).rules


def test_l6_what_was_taken_before_the_switch_to_kafka_needs_not_be_there(
    platform: Platform,
) -> None:
    """Positions of direct readers are of that time; without them all of it would be missing."""
    asyncio.run(fresh_topics(platform.settings, TOPICS))
    found = platform.looked_at()
    assert found["I16"].violations > 100
    for service in SERVICES:
        asyncio.run(execute(platform.urls[service], [TAKEN_DIRECTLY]))
    found = platform.looked_at()
    assert found["I16"].outcome == Outcome.CLEAN, found["I16"].rows


def test_i17_i20_i21_records_that_no_relay_wrote_are_named(platform: Platform) -> None:
    """A ghost with a producer's name of ours; a key elsewhere; a version behind a later one."""
    asyncio.run(platform.send())
    record = platform.last("StockReserved")
    ghost = new_id()
    platform.plant(with_message(record, id=ghost, aggregate_version=None))
    stranger = with_message(record, id=new_id(), producer="somebody", aggregate_version=None)
    platform.plant(stranger)
    found = platform.looked_at()
    assert [each.row["message_id"] for each in found["I17"].rows] == [str(ghost)]
    assert {found[id_].outcome for id_ in ("I16", "I20", "I21")} == {Outcome.CLEAN}
    home = int(found["I17"].rows[0].row["partition"] or 0)
    platform.plant(record, partition=(home + 1) % 6)
    platform.plant(with_message(record, id=new_id(), aggregate_version=0))
    found = platform.looked_at()
    assert [each.row["key"] for each in found["I21"].rows] == [record.message.key]
    assert [each.row["version"] for each in found["I20"].rows] == ["0"]


def test_i16_i17_a_dead_letter_explains_a_strangers_record_and_nothing_else(
    platform: Platform,
) -> None:
    """Not the loss of the message whose id it takes, nor what was applied, nor its own record."""
    lost = asyncio.run(value(platform.urls["inventory"], LAST))
    asyncio.run(platform.send(but=lost))
    record = next(each for each in platform.records if str(each.message.id) == lost)
    strange = with_message(record, aggregate_version=0)
    elsewhere = (platform.letter(strange, "DISCARDED").partition() or 0) + 1
    for verdict in ("DISCARDED", "OPEN"):
        anew = with_message(strange, id=new_id())
        platform.letter(anew, verdict, partition=elsewhere % 6)
    found = platform.looked_at()
    assert [each.row["message_id"] for each in found["I16"].rows] == [lost]
    assert found["I16"].rows[0].row["topic"] == "inventory-events"
    assert "waybill topics read inventory-events" in found["I16"].rows[0].look_at
    assert {found[id_].outcome for id_ in ("I17", "I20", "I21")} == {Outcome.CLEAN}

    applied, untold = (with_message(strange, id=new_id()) for _ in range(2))
    platform.letter(applied, "DISCARDED")
    inbox = APPLIED.format(message_id=applied.message.id)
    asyncio.run(execute(platform.urls["notification"], [inbox]))
    platform.letter(untold, "DISCARDED", is_told=False)
    found = platform.looked_at()
    assert [each.row["message_id"] for each in found["I17"].rows] == [str(applied.message.id)]
    missing = {each.row["topic"] for each in found["I16"].rows}
    assert missing == {"inventory-events", "inventory-events.DLT"}
    assert found["I16"].violations == 2

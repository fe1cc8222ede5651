"""Debezium's Outbox Event Router carries our outbox as the relay does (protocol L6)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest
from msgspec.structs import replace
from tests.commerce.support import eventually
from tests.kafka.broker import OtherBroker, free_port
from tests.kafka.connect import Connect, connect
from tests.kafka.reading import settings_for
from tests.kafka.records import create_topics, headers_of, records_until

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.messaging import JsonCodec, MessagingService, MessagingSettings
from waybill.messaging.adapters.kafka.headers import to_headers, to_record
from waybill.messaging.adapters.postgres import relay_status
from waybill.messaging.adapters.postgres.migrate import upgrade
from waybill.messaging.adapters.postgres.outbox import APPEND, columns
from waybill.messaging.adapters.postgres.partitions import create_spares
from waybill.messaging.core.dead_letter_record import dead_letter_record
from waybill.messaging.core.identity import UuidFactory
from waybill.messaging.core.message import Message, Record
from waybill.messaging.core.outbox_row import encode_headers
from waybill.messaging.core.ports import DeadLetter
from waybill.messaging.runtime.relay_settings import RelaySettings
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.embedded.binaries import installed_programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from confluent_kafka import Message as KafkaRecord

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.adapters.kafka.headers import Consumed

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "debezium"
SERVICES = ("order", "payment", "inventory", "notification", "orchestrator")
TOPIC = "cdc-order-events"
DEAD = f"{TOPIC}.DLT"
SAGA_TOPIC = "cdc-order.events"
SAGA_DEAD = f"{SAGA_TOPIC}.dlq"
MORE_HEADERS = "predicates.moreHeaders.pattern"
OPTIONAL = ("causationId", "traceparent", "aggregateVersion")
"""Headers that have no value where their column is NULL."""
PARTITION_ROWS = 40
PASSWORD = "cdc-secret"  # noqa: S105 - of a role of this test alone
NOW = datetime(2026, 11, 21, 19, 30, 5, 172320, tzinfo=UTC)

_new_id = UuidFactory()


class Database:
    """A service's database on a server that decodes its journal and listens on TCP."""

    def __init__(self, server: EmbeddedPostgres, port: int, service: str) -> None:
        self.port = port
        self._name = f"{service}db"
        password = server.secrets.password("postgres")
        self._address = f"postgresql://postgres:{password}@127.0.0.1:{port}"
        self.url = f"{self._address}/{self._name}"

    async def make(self) -> None:
        """The database with its schema."""
        administrator = await asyncpg.connect(f"{self._address}/postgres")
        await administrator.execute(f"CREATE DATABASE {self._name}")
        await administrator.close()
        await upgrade(self.url, partition_rows=PARTITION_ROWS)

    def prepare(self) -> None:
        """What an operator runs once."""
        subprocess.run(
            [
                *(str(installed_programs() / "psql"), "-q", "-v", "ON_ERROR_STOP=1"),
                *("-v", f"password={PASSWORD}", "-f", str(SHIPPED / "prepare.sql"), self.url),
            ],
            check=True,
        )

    async def append(self, messages: Sequence[Message]) -> None:
        """Write them as a service does, in one transaction; then partitions as upkeep does."""
        connection = await asyncpg.connect(self.url)
        async with connection.transaction():
            await connection.fetch(APPEND, *columns(messages))
        await create_spares(connection, PARTITION_ROWS)
        await connection.close()

    def environment(self) -> dict[str, str]:
        """What the shipped connectors read."""
        return {
            "PATH": os.environ["PATH"],
            "OUTBOX_DATABASE_HOST": "127.0.0.1",
            "OUTBOX_DATABASE_PORT": str(self.port),
            "OUTBOX_DATABASE_USER": "waybill_cdc",
            "OUTBOX_DATABASE_PASSWORD": PASSWORD,
        }


@contextmanager
def databases_of(directory: Path, kept_max: str) -> Iterator[tuple[Database, Database]]:
    """Those of two services, with the settings that the page on change data capture asks for."""
    port = free_port()
    settings = {
        "wal_level": "logical",
        "max_slot_wal_keep_size": kept_max,
        "listen_addresses": "127.0.0.1",
        "port": str(port),
    }
    with EmbeddedPostgres(directory, settings=settings) as server:
        made = Database(server, port, "order"), Database(server, port, "orchestrator")
        for each in made:
            asyncio.run(each.make())
            each.prepare()
        yield made


@pytest.fixture
def databases(session_directory: Path) -> Iterator[tuple[Database, Database]]:
    """The order service's, and the orchestrator's."""
    with databases_of(session_directory / "cdc", "1GB") as made:
        yield made


@pytest.fixture
def worker(session_directory: Path, kafka: OtherBroker) -> Iterator[Connect]:
    """A worker with the settings that we ship."""
    shipped = (SHIPPED / "worker.properties").read_text()
    with connect(session_directory / "connect", kafka.bootstrap, shipped) as made:
        yield made


def connector(service: str, *, heartbeat_milliseconds: int) -> dict[str, Any]:
    """The connector that we ship, with a pulse that a test can wait for, on this test's topics."""
    read: dict[str, Any] = json.loads((SHIPPED / f"{service}.json").read_text())
    config = read["config"]
    config["heartbeat.interval.ms"] = str(heartbeat_milliseconds)
    config[MORE_HEADERS] = config[MORE_HEADERS].replace("(order", "cdc-(order")
    return read


def messages(count: int, topic: str, own: dict[str, bytes]) -> list[Message]:
    """Events of several orders, with headers of their `own`; one value is no text."""
    return [
        Message(
            id=_new_id(),
            topic=topic,
            type="OrderCreated",
            key=f"order-{number % 5}",
            value=b"\xff\x00" if number == 1 else b'{"number": %d}' % number,
            occurred_at=NOW,
            aggregate_type="Order",
            aggregate_version=number if number % 4 else None,
            correlation_id=f"conversation-{number % 5}",
            causation_id=_new_id() if number % 2 else None,
            traceparent=f"00-{number:032x}-{1:016x}-01" if number % 3 else None,
            producer="order-service",
            headers=own,
        )
        for number in range(1, count + 1)
    ]


def with_dead_letters(events: Sequence[Message], suffix: str) -> list[Message]:
    """Behind every seventh the record of a dead letter that another service's event became."""
    rows: list[Message] = []
    for number, event in enumerate(events, start=1):
        rows.append(event)
        if number % 7 == 0:
            failed = replace(event, id=_new_id(), producer="payment-service")
            letter = DeadLetter(
                consumer="order-service",
                record=Record("payment-service", 3, number, failed),
                error_type="ValueError",
                error_message="no such product",
                stacktrace="at line 1",
            )
            rows.append(dead_letter_record(letter, id_=_new_id(), redrives=1, suffix=suffix))
    return rows


def expected_headers(message: Message, service: str) -> dict[str, bytes | None]:
    """The relay's, but for what the page on change data capture says."""
    relayed = dict(to_headers(message))
    is_dead = message.topic in {DEAD, SAGA_DEAD}
    headers = {n: value for n, value in relayed.items() if n not in message.headers}
    null = [name for name in OPTIONAL if not (is_dead and name == "causationId")]
    found = {**dict.fromkeys(null), **headers, "id": str(message.id), "ce_source": f"/{service}"}
    if is_dead or message.topic == SAGA_TOPIC:
        found["waybill-headers"] = encode_headers(message.headers)
    return {n: value.encode() if isinstance(value, str) else value for n, value in found.items()}


def as_read(message: Message) -> Message:
    """What a consumer takes it for: a dead letter's record has its original's id (promise P3)."""
    if message.topic in {DEAD, SAGA_DEAD}:
        assert message.causation_id is not None
        return replace(message, id=message.causation_id, causation_id=None)
    return message


def has_all(sent: Sequence[Message]) -> Callable[[list[KafkaRecord]], bool]:
    """Whether records of all these rows are there."""
    wanted = {str(message.id).encode() for message in sent}
    return lambda records: wanted <= {headers_of(record)["id"] for record in records}


@asynccontextmanager
async def service_of(
    database: Database, bootstrap: str, mode: str = "cdc"
) -> AsyncIterator[MessagingService]:
    """The service, which leaves sending to the connector where that is its mode."""
    service = MessagingService(
        "order-service",
        url=database.url,
        codec=JsonCodec([]),
        settings=MessagingSettings(relay=RelaySettings(mode=mode)),
        kafka=settings_for(bootstrap),
        publishes=[TOPIC, DEAD],
    )
    async with service:
        yield service


async def lag(service: MessagingService) -> int:
    """Rows that nobody has seen in the topics yet."""
    return (await relay_status.look(service.ports.database)).lag


async def test_debezium_publishes_what_the_relay_would(
    databases: tuple[Database, Database], worker: Connect, kafka: OtherBroker
) -> None:
    """Topic, key, value, partition and headers; new partitions and a SIGKILL included.

    Protocol L6: and the position follows what stands in the topics. Of dead letters' records too:
    the headers are the relay's, and the orchestrator's outbox goes as the other services' do.
    """
    create_topics(kafka.bootstrap, [TOPIC, DEAD, SAGA_TOPIC, SAGA_DEAD])
    database, of_orchestrator = databases
    for each in ("order", "orchestrator"):
        worker.add(connector(each, heartbeat_milliseconds=500))
    await asyncio.to_thread(worker.start, database.environment())
    sent = with_dead_letters(messages(3 * PARTITION_ROWS, TOPIC, {}), ".DLT")
    told = with_dead_letters(messages(PARTITION_ROWS, SAGA_TOPIC, {"traceId": b"0af7"}), ".dlq")
    first, second = sent[: 2 * PARTITION_ROWS], sent[2 * PARTITION_ROWS :]
    async with service_of(database, kafka.bootstrap) as service:
        await database.append(first[:PARTITION_ROWS])
        await database.append(first[PARTITION_ROWS:])
        await of_orchestrator.append(told)
        await eventually(lambda: all_seen(service), 60)
        worker.kill()
        await database.append(second)  # into partitions that the publication never named
        assert await lag(service) == len(second)
        await asyncio.to_thread(worker.start, database.environment())
        await eventually(lambda: all_seen(service), 60)
    read = partial(records_until, kafka.bootstrap)
    records = await asyncio.to_thread(read, [TOPIC, DEAD], has_all(sent))
    assert_as_relayed(records, sent, "order-service")
    sagas = await asyncio.to_thread(read, [SAGA_TOPIC, SAGA_DEAD], has_all(told))
    assert_as_relayed(sagas, told, "orchestrator")
    await asyncio.to_thread(read, ["__debezium-heartbeat.waybill.order"], bool)
    assert worker.state("waybill-order-outbox") == "RUNNING"


async def all_seen(service: MessagingService) -> bool:
    """Whether its position has passed every row."""
    return await lag(service) == 0


def assert_as_relayed(records: list[KafkaRecord], sent: Sequence[Message], service: str) -> None:
    """Each record is the relay's, no header twice, and each key's events come in order."""
    by_id = {str(message.id).encode(): message for message in sent}
    for record in records:
        message = by_id[headers_of(record)["id"]]
        assert (record.topic(), record.value()) == (message.topic, message.value)
        assert record.key() == message.key.encode()
        headers = record.headers() or []
        assert dict(headers) == expected_headers(message, service)
        assert len(headers) == len(dict(headers))
        assert to_record(cast("Consumed", record)).message == as_read(message)
    topic = sent[0].topic
    for key in {message.key for message in sent}:
        assert firsts(records, key, topic) == [
            str(m.id).encode() for m in sent if m.key == key and m.topic == topic
        ]


def firsts(records: list[KafkaRecord], key: str, topic: str) -> list[bytes]:
    """Ids of a key's events in the order in which they first appear."""
    of_key = [r for r in records if r.key() == key.encode() and r.topic() == topic]
    return list(dict.fromkeys(headers_of(record)["id"] for record in of_key))


def test_the_connectors_of_the_services_differ_in_the_service_only() -> None:
    """So that what is tested with two holds for all."""
    model = (SHIPPED / "order.json").read_text()
    names = (
        '"waybill-{}-outbox"',
        '"{}db"',
        '"waybill.{}"',
        '"waybill_{}_outbox"',
    )
    for service in SERVICES[1:]:
        producer = service if service == "orchestrator" else f"{service}-service"
        wanted = model.replace('"/order-service"', f'"/{producer}"')
        for name in names:
            wanted = wanted.replace(name.format("order"), name.format(service))
        assert (SHIPPED / f"{service}.json").read_text() == wanted


@pytest.mark.parametrize("blueprint", BLUEPRINTS.values(), ids=BLUEPRINTS)
def test_every_blueprints_outboxes_have_a_connector(blueprint: Blueprint) -> None:
    """One a service that writes; headers beside the contract's are kept, and dead letters known."""
    for name in blueprint.services:
        shipped = json.loads((SHIPPED / f"{name.removesuffix('-service')}.json").read_text())
        config = shipped["config"]
        assert config["transforms.source.value.literal"] == f"/{name}"
        for topic in blueprint.topics:
            dead = topic + blueprint.dead_letter_suffix
            assert re.fullmatch(config["predicates.deadLetter.pattern"], dead)
            assert not re.fullmatch(config["predicates.deadLetter.pattern"], topic)
            assert re.fullmatch(config[MORE_HEADERS], dead)
            kept = re.fullmatch(config[MORE_HEADERS], topic) is not None
            assert kept == bool(blueprint.headers), topic

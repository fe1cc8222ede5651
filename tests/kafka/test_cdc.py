"""Debezium's Outbox Event Router carries our outbox as the relay does (protocol L6)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import msgspec
import pytest
from tests.commerce.support import eventually
from tests.kafka.broker import OtherBroker, free_port
from tests.kafka.connect import Connect, connect
from tests.kafka.reading import settings_for
from tests.kafka.records import create_topics, headers_of, records_until

from waybill.messaging import JsonCodec, MessagingService, MessagingSettings
from waybill.messaging.adapters.kafka.headers import to_headers, to_record
from waybill.messaging.adapters.postgres import relay_status
from waybill.messaging.adapters.postgres.migrate import upgrade
from waybill.messaging.adapters.postgres.outbox import APPEND, columns
from waybill.messaging.adapters.postgres.partitions import create_spares
from waybill.messaging.core.identity import UuidFactory
from waybill.messaging.core.message import Message
from waybill.messaging.core.outbox_row import encode_headers
from waybill.messaging.runtime.relay_settings import RelaySettings
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.embedded.binaries import installed_programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from confluent_kafka import Message as KafkaRecord

    from waybill.messaging.adapters.kafka.headers import Consumed

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "debezium"
SERVICES = ("order", "payment", "inventory", "notification")
TOPIC = "cdc-order-events"
TOPICS = [TOPIC, f"{TOPIC}.DLT"]
PARTITION_ROWS = 40
PASSWORD = "cdc-secret"  # noqa: S105 - of a role of this test alone
NOW = datetime(2026, 11, 21, 19, 30, 5, 172320, tzinfo=UTC)

_new_id = UuidFactory()


class Database:
    """A service's database on a server that decodes its journal and listens on TCP."""

    def __init__(self, server: EmbeddedPostgres, port: int) -> None:
        self.port = port
        password = server.secrets.password("postgres")
        self._address = f"postgresql://postgres:{password}@127.0.0.1:{port}"
        self.url = f"{self._address}/orderdb"

    async def make(self) -> None:
        """The database with its schema."""
        administrator = await asyncpg.connect(f"{self._address}/postgres")
        await administrator.execute("CREATE DATABASE orderdb")
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


@pytest.fixture
def database(session_directory: Path) -> Iterator[Database]:
    """One with the settings that the page on change data capture asks for."""
    port = free_port()
    settings = {
        "wal_level": "logical",
        "max_slot_wal_keep_size": "1GB",
        "listen_addresses": "127.0.0.1",
        "port": str(port),
    }
    with EmbeddedPostgres(session_directory / "cdc", settings=settings) as server:
        made = Database(server, port)
        asyncio.run(made.make())
        made.prepare()
        yield made


@pytest.fixture
def worker(session_directory: Path, kafka: OtherBroker) -> Iterator[Connect]:
    """A worker with the settings that we ship."""
    shipped = (SHIPPED / "worker.properties").read_text()
    with connect(session_directory / "connect", kafka.bootstrap, shipped) as made:
        yield made


def connector(service: str, *, heartbeat_milliseconds: int) -> dict[str, Any]:
    """The connector that we ship for a service, with a pulse that a test can wait for."""
    read: dict[str, Any] = json.loads((SHIPPED / f"{service}.json").read_text())
    read["config"]["heartbeat.interval.ms"] = str(heartbeat_milliseconds)
    return read


def messages(count: int) -> list[Message]:
    """Events of several orders, one value that is no text, and every seventh a dead letter."""
    return [
        Message(
            id=_new_id(),
            topic=TOPICS[number % 7 == 0],
            type="OrderCreated",
            key=f"order-{number % 5}",
            value=b"\xff\x00" if number == 1 else b'{"number": %d}' % number,
            occurred_at=NOW,
            aggregate_type="Order",
            aggregate_version=None if number % 7 == 0 else number,
            correlation_id=f"conversation-{number % 5}",
            causation_id=_new_id() if number % 2 else None,
            traceparent=f"00-{number:032x}-{1:016x}-01" if number % 3 else None,
            producer="order-service",
            headers={"kafka_dlt-original-partition": b"\0\0\0\1"} if number % 7 == 0 else {},
        )
        for number in range(1, count + 1)
    ]


def expected_headers(message: Message) -> dict[str, bytes]:
    """The relay's, with what the page on change data capture says of Debezium's."""
    relayed = to_headers(msgspec.structs.replace(message, headers={}))
    headers = {name: value for name, value in relayed if isinstance(value, bytes)}
    headers["id"] = headers["eventId"]
    if message.headers:
        headers["waybill-headers"] = encode_headers(message.headers).encode()
    return headers


def has_all(sent: Sequence[Message]) -> Callable[[list[KafkaRecord]], bool]:
    """Whether records of all these messages are there."""
    wanted = {str(message.id).encode() for message in sent}
    return lambda records: wanted <= {headers_of(record)["eventId"] for record in records}


@asynccontextmanager
async def watching(database: Database, bootstrap: str) -> AsyncIterator[MessagingService]:
    """The service, which leaves sending to the connector."""
    service = MessagingService(
        "order-service",
        url=database.url,
        codec=JsonCodec([]),
        settings=MessagingSettings(relay=RelaySettings(mode="cdc")),
        kafka=settings_for(bootstrap),
        publishes=TOPICS,
    )
    async with service:
        yield service


async def lag(service: MessagingService) -> int:
    """Rows that nobody has seen in the topics yet."""
    return (await relay_status.look(service.ports.database)).lag


async def test_debezium_publishes_what_the_relay_would(
    database: Database, worker: Connect, kafka: OtherBroker
) -> None:
    """Topic, key, value, partition and headers; new partitions and a SIGKILL included.

    Protocol L6: and the position follows what stands in the topics.
    """
    create_topics(kafka.bootstrap, TOPICS)
    worker.add(connector("order", heartbeat_milliseconds=500))
    await asyncio.to_thread(worker.start, database.environment())
    sent = messages(3 * PARTITION_ROWS)
    first, second = sent[: 2 * PARTITION_ROWS], sent[2 * PARTITION_ROWS :]
    async with watching(database, kafka.bootstrap) as service:
        await database.append(first[:PARTITION_ROWS])
        await database.append(first[PARTITION_ROWS:])
        await eventually(lambda: all_seen(service), 60)
        worker.kill()
        await database.append(second)  # into partitions that the publication never named
        assert await lag(service) == len(second)
        await asyncio.to_thread(worker.start, database.environment())
        await eventually(lambda: all_seen(service), 60)
    read = partial(records_until, kafka.bootstrap)
    records = await asyncio.to_thread(read, TOPICS, has_all(sent))
    assert_as_relayed(records, sent)
    await asyncio.to_thread(read, ["__debezium-heartbeat.waybill.order"], bool)
    assert worker.state("waybill-order-outbox") == "RUNNING"


async def all_seen(service: MessagingService) -> bool:
    """Whether its position has passed every row."""
    return await lag(service) == 0


def assert_as_relayed(records: list[KafkaRecord], sent: Sequence[Message]) -> None:
    """Each record is the relay's, and each key's come in order."""
    by_id = {str(message.id).encode(): message for message in sent}
    for record in records:
        message = by_id[headers_of(record)["eventId"]]
        assert (record.topic(), record.value()) == (message.topic, message.value)
        assert record.key() == message.key.encode()
        assert headers_of(record) == expected_headers(message)
        assert to_record(cast("Consumed", record)).message == message
    for key in {message.key for message in sent}:
        assert firsts(records, key) == [
            str(m.id).encode() for m in sent if m.key == key and m.topic == TOPIC
        ]


def firsts(records: list[KafkaRecord], key: str) -> list[bytes]:
    """Ids of a key's events in the order in which they first appear."""
    of_key = [r for r in records if r.key() == key.encode() and r.topic() == TOPIC]
    return list(dict.fromkeys(headers_of(record)["eventId"] for record in of_key))


def test_the_connectors_of_the_services_differ_in_the_service_only() -> None:
    """So that what is tested with one holds for all."""
    model = (SHIPPED / "order.json").read_text()
    names = (
        '"waybill-{}-outbox"',
        '"{}db"',
        '"waybill.{}"',
        '"waybill_{}_outbox"',
        '"/{}-service"',
    )
    for service in SERVICES[1:]:
        wanted = model
        for name in names:
            wanted = wanted.replace(name.format("order"), name.format(service))
        assert (SHIPPED / f"{service}.json").read_text() == wanted

"""Gauges show the backlog that the databases hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
from prometheus_client import generate_latest

from waybill.blueprints import choreography
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.figures import look
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.identity import new_id
from waybill.messaging.testing.memory_service import MemoryService
from waybill.platform.metrics import ServiceMetrics
from waybill.platform.sampling import Backlog, Hosted, Instance, Sampler

if TYPE_CHECKING:
    from tests.conftest import ServiceDatabases

ROW = """
INSERT INTO messaging.outbox (seq, lane, id, aggregatetype, aggregateid, type, payload, version,
    topic, correlation_id, producer, headers, occurred_at, created_at)
VALUES (nextval('messaging.outbox_seq'), $1, $2, 'Order', 'k', 'X', '{}', 1, $3, 'k',
    'order-service', '{}', now(), now() - interval '90 s')
"""
READER = """
INSERT INTO messaging.outbox_reader (consumer, topics, start, positions)
VALUES ($1, $2, array_fill(0, ARRAY[17]), array_fill($3::bigint, ARRAY[17]))
"""
LETTER = """
INSERT INTO messaging.dead_letters (id, consumer, message_id, source, topic, lane, seq, key, value,
    type, version, aggregate_type, correlation_id, producer, headers, occurred_at, error_type,
    error_message, stacktrace, verdict)
VALUES ($1, 'order-service', $1, 's', 't', 1, 1, 'k', '', 'X', 1, 'Order', 'k', 'p', '{}', now(),
    'E', 'e', '', $2)
"""
DELIVERY = """
INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id, ask_first)
VALUES ($1, 'charge', $2, '', $3, 'k', $4)
"""


async def fill(url: str) -> None:
    """Three rows of a topic and one of another; a reader that passed one row, and a quick one."""
    connection = await asyncpg.connect(url)
    for lane, topic in ((1, "order-events"), (1, "order-events"), (2, "order-events"), (2, "x")):
        await connection.execute(ROW, lane, new_id(), topic)
    await connection.execute(READER, "slow", ["order-events"], 1)
    await connection.execute(READER, "quick", ["order-events"], 4)
    for verdict in ("OPEN", "OPEN", "DISCARDED"):
        await connection.execute(LETTER, new_id(), verdict)
    for key, state in (("a", "PENDING"), ("b", "PARKED"), ("c", "DELIVERED"), ("d", "PENDING")):
        await connection.execute(DELIVERY, new_id(), key, state, key == "a")
    await connection.close()


async def test_the_backlog_is_counted_by_reader_topic_and_lane(
    service_databases: ServiceDatabases,
) -> None:
    """A topic that nobody reads is no backlog; a row is pending until its last reader passed."""
    url = service_databases["order"]
    await fill(url)
    database = await PostgresDatabase.connect(url, PostgresSettings(pool_max=2))
    found = await look(database)
    assert {place: rows for place, rows in found.lag.items() if rows} == {
        ("slow", "order-events", 1): 1,
        ("slow", "order-events", 2): 1,
    }
    assert found.outbox_pending == 2
    assert 85 < found.outbox_oldest_pending_seconds < 200
    assert found.dead_letters_open == {"order-service": 2}
    assert {place: seconds > 85 for place, seconds in found.lag_seconds.items() if seconds} == {
        ("slow", "order-events", 1): True,
        ("slow", "order-events", 2): True,
    }
    assert found.spare_partitions == 2
    assert set(found.silent_seconds) == {"slow", "quick"}
    assert found.deliveries.keys() == {("charge", "PENDING"), ("charge", "PARKED")}
    waiting = found.deliveries["charge", "PENDING"]
    assert (waiting.count, waiting.unknown) == (2, 1)
    await database.close()


async def test_what_has_gone_shows_nothing_left(service_databases: ServiceDatabases) -> None:
    """A gauge does not keep its last value for ever."""
    url = service_databases["order"]
    await fill(url)
    database = await PostgresDatabase.connect(url, PostgresSettings(pool_max=2))
    metrics = ServiceMetrics("order-service", version="1")
    hosted = Hosted("choreography")
    backlog = Backlog(database, metrics, consumers=["order-service"], hosts_process=hosted)
    await backlog.look()
    parked = 'deliveries_waiting{application="order-service",kind="charge",state="parked"}'
    letters = 'messaging_dead_letters_open{application="order-service",consumer="order-service"}'
    assert f"{parked} 1.0" in generate_latest(metrics.registry).decode()
    await database.fetch("DELETE FROM messaging.deliveries")
    await database.fetch("UPDATE messaging.dead_letters SET verdict = 'DISCARDED'")
    await database.fetch("DELETE FROM messaging.outbox_reader")
    await backlog.look()
    text = generate_latest(metrics.registry).decode()
    assert f"{parked} 0.0" in text
    assert f"{letters} 0.0" in text
    assert 'outbox_pending{application="order-service"} 0.0' in text
    assert 'saga_active{application="order-service",saga="choreography"} 0.0' in text
    lag = [line for line in text.splitlines() if line.startswith("kafka_consumergroup_lag{")]
    assert len(lag) == 34
    assert all(line.endswith(" 0.0") for line in lag)
    await database.close()


async def test_a_transaction_in_another_database_is_seen(
    service_databases: ServiceDatabases,
) -> None:
    """Pitfall B2, protocol E4: what holds back vacuum may be anybody's on the server."""
    metrics = ServiceMetrics("order-service", version="1")
    other = await asyncpg.connect(service_databases["payment"])
    async with other.transaction(isolation="repeatable_read"):
        await other.execute("SELECT txid_current()")
        await Instance(service_databases["order"], metrics).look()
    await other.close()
    value = metrics.registry.get_sample_value
    labels = {"application": "order-service"}
    assert (value("postgres_oldest_transaction_age_seconds", labels) or 0) > 0
    assert (value("postgres_oldest_xmin_age_transactions", labels) or 0) >= 1
    assert value("postgres_prepared_transactions", labels) == 0


async def test_a_database_that_is_away_shows_and_its_figures_grow_old() -> None:
    """Old figures are never taken for new ones: their age grows, and the database shows as down."""
    service = MemoryService(choreography.codec())
    clock, metrics = service.clock, ServiceMetrics("order-service", version="1")
    answers = True

    async def backlog() -> None:
        if not answers:
            raise TransientError("away")

    async def disk() -> None:
        metrics.set("disk_used_ratio", 0.5)

    looks = {"backlog": (5.0, backlog), "disk": (5.0, disk)}
    sampler = Sampler(looks, metrics, service.ports)

    def figure(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"application": "order-service", **labels})

    async with service.running(sampler):
        await clock.advance(1)
        assert figure("database_up") == 1
        answers = False
        await clock.advance(20)
        assert figure("database_up") == 0
        assert (figure("figures_age_seconds", look="backlog") or 0) >= 20
        assert (figure("figures_age_seconds", look="disk") or 0) <= 5
        answers = True
        await clock.advance(5)
        assert figure("database_up") == 1
        assert (figure("figures_age_seconds", look="backlog") or 0) <= 5

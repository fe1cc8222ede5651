"""An operator's day: what `waybill` shows of a running platform, and what can be done about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid5

import pytest
from tests.acceptance.database import rows, value
from tests.acceptance.processes import MOUSE, PlatformProcess, wait_for

from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.acceptance.conftest import NewPlatform

LANE = 3
POISON = """
WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock($1, $2))
INSERT INTO messaging.outbox (seq, lane, id, aggregatetype, aggregateid, type, payload, version,
    topic, correlation_id, producer, headers, occurred_at)
SELECT nextval('messaging.outbox_seq'), $2, $3, 'Order', 'x', 'OrderConfirmed', 'not json', 1,
    'order-events', 'x', 'order-service', '{}', now()
FROM locked
"""


@pytest.fixture(scope="module")
def background(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """A platform that `waybill up --detach` started and `waybill down` stops."""
    with new_platform(PAYMENT_SIMULATE_FORCEOUTCOME="success") as platform:
        up = platform.run("up", "--detach")
        assert up.returncode == 0, up.stderr
        assert f"127.0.0.1:{platform.port_base + 1}" in up.stdout
        yield platform
        assert platform.run("down").stdout.startswith("stopped")
        assert platform.run("status").returncode == 1
        assert platform.run("down").stdout.startswith("nothing runs")


def lines(platform: PlatformProcess, *command: str) -> list[dict[str, object]]:
    """The JSON lines of a command."""
    shown = platform.run(*command, "--json")
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def poison(platform: PlatformProcess) -> UUID:
    """An undecodable record in the order service's outbox, put there under the lane's lock."""
    message_id = uuid5(new_id(), "poison")
    rows(platform.data, "order", POISON, LANE_LOCK_CLASS, LANE, message_id)
    return message_id


def verdict_of(platform: PlatformProcess, message_id: UUID) -> object:
    """What the notification service's dead letter stands at."""
    statement = "SELECT verdict FROM messaging.dead_letters WHERE message_id = $1"
    return value(platform.data, "notification", statement, message_id)


def test_it_is_up_and_logs(background: PlatformProcess) -> None:
    """Status 0 when every service is ready; the log is kept beside the data."""
    shown = background.run("status")
    assert shown.returncode == 0
    assert shown.stdout.count("UP") == 4
    logged = background.run("logs", "--lines", "1000").stdout
    assert "order-service is ready" in logged


def test_up_again_says_that_it_runs(background: PlatformProcess) -> None:
    """Twice is no error on the same data; with other data its answers do not pass for theirs."""
    again = background.run("up", "--detach")
    assert again.returncode == 0
    assert "runs already" in again.stdout
    other = PlatformProcess(
        background.data / "other", port_base=background.port_base, environment={}
    )
    refused = other.run("up", "--detach")
    assert refused.returncode == 1
    assert "--port-base" in refused.stderr


def test_topics_are_listed_and_read(background: PlatformProcess) -> None:
    """The kcat of one machine: an order's events by its key, in order."""
    order_id = background.place(str(new_id())).json()["id"]
    background.ended(order_id)
    assert {line["topic"] for line in lines(background, "topics", "list")} >= {
        *("order-events", "inventory-events", "payment-events")
    }
    read = lines(background, "topics", "read", "order-events", "--key", order_id)
    assert [record["type"] for record in read] == ["OrderCreated", "OrderConfirmed"]
    assert json.loads(str(read[0]["value"]))["payload"]["orderId"] == order_id


def test_seed_fills_the_stock_and_places_orders(background: PlatformProcess) -> None:
    """Something to look at."""
    shown = background.run("seed", "--orders", "3")
    assert shown.returncode == 0, shown.stderr
    assert background.products()[MOUSE]["stock"] >= 990


def test_consumers_are_listed_reset_and_forgotten(background: PlatformProcess) -> None:
    """Positions can be set back while everything runs; one that runs is not forgotten (D4)."""
    found = {(line["consumer"], line["source"]) for line in lines(background, "consumers", "list")}
    assert ("notification-service", "order-service") in found
    before = value(background.data, "notification", "SELECT count(*) FROM notifications")
    reset = background.run("consumers", "reset", "notification-service", "order-service")
    assert reset.returncode == 0, reset.stderr
    refused = background.run("consumers", "forget", "notification-service", "order-service")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr
    order_id = background.place(str(new_id())).json()["id"]
    background.ended(order_id)
    notified = "SELECT count(*) FROM notifications"
    wait_for(
        lambda: value(background.data, "notification", notified) == before + 1,
        20,
        "the new order is notified, no old one again",
    )


def test_a_dead_letter_is_shown_redriven_and_discarded(background: PlatformProcess) -> None:
    """An undecodable record: dead letter, the next messages go on, a verdict with who and why."""
    message_id = poison(background)
    wait_for(lambda: verdict_of(background, message_id) == "OPEN", 20, "the dead letter")
    order_id = background.place(str(new_id())).json()["id"]
    assert background.ended(order_id)["status"] == "CONFIRMED"

    listed = lines(background, "dead-letters", "list", "--consumer", "notification-service")
    assert str(message_id) in {line["message_id"] for line in listed}
    shown = background.run("dead-letters", "show", str(message_id))
    assert "not json" in shown.stdout
    name = ("notification-service", str(message_id), "--why", "a test")
    redriven = background.run("dead-letters", "redrive", *name)
    assert redriven.returncode == 0, redriven.stderr
    redrives = "SELECT redrives FROM messaging.dead_letters WHERE message_id = $1"
    wait_for(
        lambda: value(background.data, "notification", redrives, message_id),
        20,
        "the redrive, which fails again",
    )
    wait_for(lambda: verdict_of(background, message_id) == "OPEN", 20, "open again")
    assert background.run("dead-letters", "discard", *name).returncode == 0
    assert verdict_of(background, message_id) == "DISCARDED"
    again = background.run("dead-letters", "discard", *name)
    assert again.returncode == 1
    assert "DISCARDED already" in again.stderr


def test_the_dead_letter_topic_can_be_read(background: PlatformProcess) -> None:
    """`<topic>.DLT` unites what the topic's consumers gave up (C5)."""
    message_id = poison(background)
    wait_for(lambda: verdict_of(background, message_id) == "OPEN", 20, "the dead letter")
    read = lines(background, "topics", "read", "order-events.DLT")
    assert any("not json" in str(record["value"]) for record in read)
    assert any("kafka_dlt-original-topic" in dict(record["headers"]) for record in read)  # type: ignore[call-overload] # JSON


def test_psql_is_read_only_unless_told(background: PlatformProcess) -> None:
    """A look into a database cannot change it."""
    shown = background.run("psql", "order", "-c", "SELECT count(*) FROM orders")
    assert shown.returncode == 0, shown.stderr
    refused = background.run("psql", "order", "-c", "CREATE TABLE x ()")
    assert refused.returncode != 0
    assert "read-only" in refused.stderr


def test_no_deliveries_are_parked(background: PlatformProcess) -> None:
    """Nobody waits for an operator when all is well; an unknown id is said so."""
    assert lines(background, "deliveries", "list") == []
    shown = background.run(
        "deliveries", "resolve", str(new_id()), "--as", "retry", "--why", "a test"
    )
    assert shown.returncode == 1
    assert "not parked" in shown.stderr

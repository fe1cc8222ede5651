"""Poison on the running platform, and an operator's verdicts by the command line."""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from tests.acceptance.database import rows, value
from tests.acceptance.processes import CUSTOMER, wait_for

from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of

if TYPE_CHECKING:
    from tests.acceptance.processes import PlatformProcess

GARBAGE = b'{"eventType": "OrderConfirmed", \xff\xfe'
SUBSCRIBERS = ["inventory-service", "notification-service"]
MONITOR = "44444444-4444-4444-4444-444444444444"

# In one statement's transaction: the lane lock first, then the number (protocol O1).
POISON = f"""
WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock({LANE_LOCK_CLASS}, $3))
INSERT INTO messaging.outbox (
    seq, lane, id, aggregatetype, aggregateid, type, payload, version, aggregate_version, topic,
    correlation_id, causation_id, traceparent, producer, headers, occurred_at
)
SELECT nextval('messaging.outbox_seq'), $3, $1, 'Order', $2, 'OrderConfirmed', $4, 1, NULL,
       'order-events', $2, NULL, NULL, 'order-service', '{{}}', clock_timestamp()
FROM locked RETURNING seq
"""  # noqa: S608 - a constant
LETTERS = """
SELECT verdict, redrives, verdict_by, verdict_reason FROM messaging.dead_letters
WHERE consumer = $1 AND message_id = $2
"""
WRONG = (
    """
    CREATE FUNCTION app.wrong() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE check_violation USING MESSAGE = 'the constraint wrong', CONSTRAINT = 'wrong';
    END $$
    """,
    """
    CREATE TRIGGER wrong BEFORE INSERT ON messaging.deliveries FOR EACH ROW
    WHEN (NEW.key LIKE '%:OrderCancelled') EXECUTE FUNCTION app.wrong()
    """,
)
"""A constraint of the service's own on the notifications that it owes."""
MENDED = "DROP FUNCTION app.wrong CASCADE"
APPLIED = "SELECT count(*) FROM messaging.inbox WHERE consumer = $1 AND message_id = $2"


def letter(platform: PlatformProcess, consumer: str, message_id: UUID) -> dict[str, Any] | None:
    """The row of a dead letter in its consumer's database."""
    service = consumer.removesuffix("-service")
    found = rows(platform.data, service, LETTERS, consumer, message_id)
    return found[0] if found else None


def listed(platform: PlatformProcess, *arguments: str) -> list[dict[str, Any]]:
    """The JSON lines of a `waybill … --json`."""
    answer = platform.run(*arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.fixture(scope="module")
def poison(shared_platform: PlatformProcess) -> dict[str, Any]:
    """An undecodable record in the order service's outbox, put there under its lane's lock."""
    key, message_id = str(new_id()), new_id()
    seq = value(shared_platform.data, "order", POISON, message_id, key, lane_of(key), GARBAGE)
    return {"id": message_id, "key": key, "lane": lane_of(key), "seq": seq}


def test_poison_is_a_dead_letter_of_each_subscriber(
    shared_platform: PlatformProcess, poison: dict[str, Any]
) -> None:
    """Protocol C7, C9: at once, of those that subscribe to its type and of nobody else."""
    for consumer in SUBSCRIBERS:
        wait_for(
            lambda c=consumer: letter(shared_platform, c, poison["id"]),  # type: ignore[misc] # a loop's variable
            15,
            f"a dead letter of {consumer}",
        )
    found = listed(shared_platform, "dead-letters", "list")
    ours = [row for row in found if row["message_id"] == str(poison["id"])]
    assert [row["consumer"] for row in ours] == SUBSCRIBERS
    assert {row["verdict"] for row in ours} == {"OPEN"}
    assert {row["key"] for row in ours} == {poison["key"]}
    shown = shared_platform.run("dead-letters", "show", str(poison["id"]))
    assert shown.returncode == 0
    assert f"order-service {poison['lane']}:{poison['seq']}" in shown.stdout
    assert "stacktrace\n    Traceback" in shown.stdout


def test_messages_after_it_go_on(shared_platform: PlatformProcess, poison: dict[str, Any]) -> None:
    """R179: later orders of the very same lane end, and are told to their customers."""
    shared_platform.raise_stock(5_000)  # only one order in seventeen is of that lane
    placed = (shared_platform.place(str(new_id())).json()["id"] for _ in range(500))
    behind = next(order_id for order_id in placed if lane_of(order_id) == poison["lane"])
    ended = shared_platform.ended(behind)
    assert ended["status"] == "CONFIRMED", ended
    url = f"{shared_platform.url(4)}/api/notifications"
    wait_for(
        lambda: shared_platform.client.get(url, params={"orderId": behind}).json()["items"],
        30,
        "the customer behind the poison is told",
    )


def test_it_is_on_the_dead_letter_topic_with_its_headers(
    shared_platform: PlatformProcess, poison: dict[str, Any]
) -> None:
    """Contracts 1.3: `order-events.DLT` unites its consumers' records, with kafka_dlt-* headers."""
    found = listed(shared_platform, "topics", "read", "order-events.DLT", "--key", poison["key"])
    assert sorted(row["source"] for row in found) == SUBSCRIBERS
    for row in found:
        headers = {name: base64.b64decode(text) for name, text in row["headers"].items()}
        prefix = "kafka_dlt-"
        assert headers[f"{prefix}original-topic"] == b"order-events"
        assert headers[f"{prefix}original-partition"] == struct.pack(">i", poison["lane"])
        assert headers[f"{prefix}original-offset"] == struct.pack(">q", poison["seq"])
        assert headers[f"{prefix}original-consumer-group"] == row["source"].encode()
        assert headers[f"{prefix}exception-fqcn"]
        assert headers[f"{prefix}exception-message"]
        assert row["type"] == "OrderConfirmed"
        assert row["causation_id"] == str(poison["id"])


def test_a_redrive_of_garbage_is_open_again(
    shared_platform: PlatformProcess, poison: dict[str, Any]
) -> None:
    """Protocol C4: one try a verdict; it comes back OPEN, counted, and never into the inbox."""
    consumer, message_id = "inventory-service", poison["id"]
    wait_for(lambda: letter(shared_platform, consumer, message_id), 15, "the dead letter")
    why = ("--why", "trying again")
    answer = shared_platform.run("dead-letters", "redrive", consumer, str(message_id), *why)
    assert answer.returncode == 0, answer.stderr

    def again() -> bool:
        row = letter(shared_platform, consumer, message_id)
        return row is not None and (row["verdict"], row["redrives"]) == ("OPEN", 1)

    wait_for(again, 15, "open again")
    assert value(shared_platform.data, "inventory", APPLIED, consumer, message_id) == 0


def test_a_discard_sticks(shared_platform: PlatformProcess, poison: dict[str, Any]) -> None:
    """Protocol C5: also when the topic is read again from its horizon."""
    consumer, message_id = "notification-service", poison["id"]
    wait_for(lambda: letter(shared_platform, consumer, message_id), 15, "the dead letter")
    why = ("--why", "garbage of a test")
    judged = shared_platform.run("dead-letters", "discard", consumer, str(message_id), *why)
    assert judged.returncode == 0, judged.stderr
    reset = shared_platform.run("consumers", "reset", consumer, "order-service", "--to", "horizon")
    assert reset.returncode == 0, reset.stderr
    marker = shared_platform.place(str(new_id())).json()["id"]
    told = "SELECT count(*) FROM app.notifications WHERE order_id = $1"
    data = shared_platform.data
    wait_for(lambda: value(data, "notification", told, UUID(marker)), 30, "all read again")
    row = letter(shared_platform, consumer, message_id)
    assert row is not None
    assert (row["verdict"], row["redrives"]) == ("DISCARDED", 0)
    assert row["verdict_reason"] == "garbage of a test"
    assert value(shared_platform.data, "notification", APPLIED, consumer, message_id) == 0
    again = shared_platform.run("dead-letters", "redrive", consumer, str(message_id), *why)
    assert again.returncode == 1
    assert "DISCARDED already" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_redrive_after_the_repair_applies_the_message(shared_platform: PlatformProcess) -> None:
    """Protocol C6, P3: a constraint that was wrong, then dropped: the letter is applied once."""
    data, consumer = shared_platform.data, "notification-service"
    for statement in WRONG:
        rows(data, "notification", statement)
    body = {"productId": MONITOR, "quantity": 9999, "unitPrice": 1}
    answer = shared_platform.client.post(
        f"{shared_platform.url(1)}/api/orders",
        json={"customerId": CUSTOMER, "items": [body]},
        headers={"Idempotency-Key": str(new_id())},
    )
    order_id = answer.json()["id"]

    def open_letter() -> list[dict[str, Any]]:
        found = listed(shared_platform, "dead-letters", "list", "--consumer", consumer)
        return [row for row in found if row["key"] == order_id]

    (found,) = wait_for(open_letter, 30, "the dead letter of a good message")
    assert found["type"] == "OrderCancelled"
    assert "wrong" in found["error"]
    rows(data, "notification", MENDED)
    why = ("--why", "the constraint is gone")
    judged = shared_platform.run("dead-letters", "redrive", consumer, found["message_id"], *why)
    assert judged.returncode == 0, judged.stderr
    url = f"{shared_platform.url(4)}/api/notifications"
    wait_for(
        lambda: shared_platform.client.get(url, params={"orderId": order_id}).json()["items"],
        30,
        "the notification",
    )
    row = letter(shared_platform, consumer, UUID(found["message_id"]))
    assert row is not None
    assert (row["verdict"], row["redrives"]) == ("REDRIVEN", 1)

"""Seed 001 as its users meet it: a platform of `reservation`, over HTTP, with its own tables.

Twice: on the embedded PostgreSQL, and on MariaDB.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.engines import SUPERUSER, on_engine, provisioned, rows, value
from tests.acceptance.processes import OFFSETS, PlatformProcess, free_port_base, wait_for
from tests.acceptance.test_poison import POISON
from tests.mariadb import ENGINES

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

pytestmark = pytest.mark.acceptance
EMAIL = "alice@example.com"
DOCUMENTED = {
    "orders": {
        *("id", "customer_email", "status", "total_amount", "created_at", "updated_at"),
        "key_hash",
    },
    "order_items": {"id", "order_id", "sku", "unit_price", "quantity"},
    "outbox": {
        *("id", "aggregate_type", "aggregate_id", "type", "payload", "headers", "status"),
        "created_at",
    },
    "inventory": {"sku", "available_qty", "reserved_qty"},
    "reservation_log": {"event_id", "order_id", "sku", "delta_reserved", "status", "created_at"},
}
"""The document's tables with their columns, and the hash of the key (R103); no `sent_at` (C16)."""
ROUTES = (("inventory", "order"), ("order", "inventory"), ("notification", "order"))
"""Who reads whose events."""
OUTBOX = "SELECT type, status FROM reservation.outbox WHERE aggregate_id = $1 ORDER BY type"
ORDER_SERVICE, INVENTORY_SERVICE = 1, 3


POISON_ON_MARIADB = """
INSERT INTO messaging.outbox (
    lane, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id, producer,
    headers, occurred_at
) VALUES ($3, $1, 'Order', $2, 'order.created', $4, 1, 'order.created', $2, 'order-service', '{}',
          NOW(6))
"""


def reservation_platform(directory: Path, **environment: str) -> PlatformProcess:
    """A platform of this blueprint, not started."""
    platform = PlatformProcess(
        directory / "data",
        port_base=free_port_base(),
        environment={"WAYBILL_BLUEPRINT": "reservation", **environment},
    )
    platform.without = frozenset({"payment"})
    return platform


@pytest.fixture(scope="module", params=ENGINES)
def platform(request: pytest.FixtureRequest, session_directory: Path) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint on new data, on each engine."""
    directory = Path(tempfile.mkdtemp(prefix="reservation-", dir=session_directory))
    directory.chmod(0o711)
    with on_engine(request, request.param) as databases:
        platform = reservation_platform(directory, **databases)
        try:
            yield provisioned(platform).start()
        finally:
            platform.close()
            shutil.rmtree(directory, ignore_errors=True)


def stock(platform: PlatformProcess, sku: str, quantity: int) -> None:
    """PUT that much of a SKU."""
    url = f"{platform.url(INVENTORY_SERVICE)}/api/inventory/{sku}"
    level = platform.client.put(url, json={"availableQty": quantity})
    assert level.json() == {"sku": sku, "availableQty": quantity, "reservedQty": 0}


def place(platform: PlatformProcess, sku: str, quantity: int, **headers: str) -> httpx2.Response:
    """POST one order."""
    lines = [{"sku": sku, "quantity": quantity, "unitPrice": 1299}]
    return platform.client.post(
        f"{platform.url(ORDER_SERVICE)}/api/orders",
        json={"customerEmail": EMAIL, "items": lines},
        headers=headers,
    )


def becomes(platform: PlatformProcess, order_id: str, status: str) -> dict[str, Any]:
    """Wait until the order has this status; the order."""

    def there() -> dict[str, Any] | None:
        order = platform.order(order_id)
        return order if order["status"] == status else None

    return wait_for(there, 30, f"order {order_id} is {status}")


def level(platform: PlatformProcess, sku: str) -> tuple[int, int]:
    """Available and reserved of a SKU."""
    url = f"{platform.url(INVENTORY_SERVICE)}/api/inventory/{sku}"
    found = platform.client.get(url).json()
    return found["availableQty"], found["reservedQty"]


def log_has(platform: PlatformProcess, words: str) -> bool:
    """Whether a line of the log holds these words."""
    return words in platform.log.read_text()


def test_an_order_is_reserved_and_confirmed(platform: PlatformProcess) -> None:
    """201 PENDING, then CONFIRMED; the documented tables and the mail's line tell of it."""
    stock(platform, "SKU-1", 5)
    placed = place(
        platform, "SKU-1", 2, **{"Idempotency-Key": "first", "X-Correlation-Id": "shop-4711"}
    )
    order_id = placed.json()["orderId"]
    assert (placed.status_code, placed.json()) == (201, {"orderId": order_id, "status": "PENDING"})
    order = becomes(platform, order_id, "CONFIRMED")
    assert order["customerEmail"] == EMAIL
    assert order["items"] == [{"sku": "SKU-1", "quantity": 2, "unitPrice": 1299.0}]
    assert order["totalAmount"] == 2598.0
    assert level(platform, "SKU-1") == (3, 2)
    line = f"Email to {EMAIL}: your order is CONFIRMED"
    wait_for(lambda: log_has(platform, line) or None, 20, "the mail's line")
    logged = [json.loads(each) for each in platform.log.read_text().splitlines() if line in each]
    assert [each["correlation_id"] for each in logged] == ["shop-4711"]
    headers = "SELECT DISTINCT correlation_id FROM messaging.outbox WHERE aggregateid = $1"
    for service in ("order", "inventory"):
        found = rows(platform, service, headers, order_id)
        assert [row["correlation_id"] for row in found] == ["shop-4711"]

    def sent() -> bool | None:
        found = rows(platform, "order", OUTBOX, order_id)
        assert [row["type"] for row in found] == ["order.confirmed", "order.created"]
        return True if {row["status"] for row in found} == {"SENT"} else None

    wait_for(sent, 20, "the outbox shows SENT")
    (item,) = rows(platform, "order", "SELECT * FROM reservation.order_items")
    assert (item["sku"], item["quantity"]) == ("SKU-1", 2)
    (kept,) = rows(platform, "order", "SELECT * FROM reservation.orders")
    assert (kept["customer_email"], kept["status"], len(kept["key_hash"])) == (
        EMAIL,
        "CONFIRMED",
        64,
    )


def test_three_services_are_up(platform: PlatformProcess) -> None:
    """R003, R219: order, inventory and notification answer /health, each on its own port."""
    for offset, name in ((1, "order"), (3, "inventory"), (4, "notification")):
        health = platform.client.get(f"{platform.url(offset)}/health")
        assert (health.status_code, health.json()["status"]) == (200, "UP")
        metrics = platform.client.get(f"{platform.url(offset)}/metrics").text
        assert f'application="{name}-service"' in metrics


def test_a_repeated_key_is_one_order(platform: PlatformProcess) -> None:
    """The first answer again; another payload is 422; without a key each request is an order."""
    stock(platform, "SKU-2", 50)
    key = {"Idempotency-Key": "again"}
    first, second = (place(platform, "SKU-2", 1, **key) for _ in range(2))
    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert place(platform, "SKU-2", 2, **key).status_code == 422
    without = {place(platform, "SKU-2", 1).json()["orderId"] for _ in range(2)}
    assert len(without) == 2


def test_an_order_without_stock_fails(platform: PlatformProcess) -> None:
    """R150: FAILED and told; inventory.rejected has what there was; nothing is held."""
    stock(platform, "SKU-3", 1)
    order_id = place(platform, "SKU-3", 2).json()["orderId"]
    becomes(platform, order_id, "FAILED")
    line = f"Email to {EMAIL}: your order is FAILED"
    wait_for(lambda: log_has(platform, line) or None, 20, "the mail's line")
    types = [row["type"] for row in rows(platform, "order", OUTBOX, order_id)]
    assert types == ["order.created", "order.failed"]
    assert level(platform, "SKU-3") == (1, 0)
    (rejected,) = rows(
        platform,
        "inventory",
        "SELECT payload FROM reservation.outbox WHERE aggregate_id = $1",
        order_id,
    )
    told = json.loads(rejected["payload"])
    assert told["eventType"] == "inventory.rejected"
    assert told["items"] == [{"sku": "SKU-3", "quantity": 2, "available": 1}]
    log = "SELECT status, delta_reserved FROM reservation.reservation_log WHERE order_id = $1"
    assert [tuple(row.values()) for row in rows(platform, "inventory", log, order_id)] == [
        ("REJECTED", 0)
    ]


def test_a_cancelled_order_gives_its_stock_back(platform: PlatformProcess) -> None:
    """Even after it was confirmed: order.canceled, the stock released, and again no harm.

    All that it leads to has the X-Correlation-Id that the order was placed with (R074).
    """
    stock(platform, "SKU-4", 5)
    named = {"X-Correlation-Id": "shop-4713"}
    order_id = place(platform, "SKU-4", 2, **named).json()["orderId"]
    becomes(platform, order_id, "CONFIRMED")
    cancel = f"{platform.url(ORDER_SERVICE)}/api/orders/{order_id}/cancel"
    canceled = platform.client.post(cancel)
    assert (canceled.status_code, canceled.json()["status"]) == (200, "CANCELED")
    assert platform.client.post(cancel).json()["status"] == "CANCELED"
    wait_for(lambda: level(platform, "SKU-4") == (5, 0) or None, 20, "the stock is back")
    types = [row["type"] for row in rows(platform, "order", OUTBOX, order_id)]
    assert "order.canceled" in types
    log = (
        "SELECT sku, delta_reserved FROM reservation.reservation_log "
        "WHERE order_id = $1 ORDER BY event_id"
    )
    moves = [tuple(row.values()) for row in rows(platform, "inventory", log, order_id)]
    assert moves == [("SKU-4", 2), ("SKU-4", -2)]
    told = "SELECT type, correlation_id FROM messaging.outbox WHERE aggregateid = $1"
    for service, last in (("order", "order.canceled"), ("inventory", "inventory.released")):
        found = rows(platform, service, told, order_id)
        assert last in {row["type"] for row in found}
        assert {row["correlation_id"] for row in found} == {"shop-4713"}


def test_what_is_not_valid_is_refused(platform: PlatformProcess) -> None:
    """400 with what is wrong; an unknown order is 404."""
    orders = f"{platform.url(ORDER_SERVICE)}/api/orders"
    body = {"customerEmail": "nobody", "items": []}
    refused = platform.client.post(orders, json=body)
    assert refused.status_code == 400
    assert {each["pointer"] for each in refused.json()["errors"]} == {"#/customerEmail", "#/items"}
    nobody = platform.client.get(f"{orders}/01a2008e-ff70-74b0-af40-8c4c82c9b53d")
    assert nobody.status_code == 404


def test_poison_ends_in_the_dead_letter_topic(platform: PlatformProcess) -> None:
    """`order.created.dlq` has the record's bytes, where it stood and what was wrong (R171)."""
    key, garbage = str(new_id()), b'{"eventType": "order.created", "version": 1}'
    poison = POISON.replace("order-events", "order.created").replace(
        "OrderConfirmed", "order.created"
    )
    if SUPERUSER in platform.environment:
        poison = POISON_ON_MARIADB
    rows(platform, "order", poison, new_id(), key, lane_of(key), garbage)

    def told() -> dict[str, Any] | None:
        read = platform.run("topics", "read", "order.created.dlq", "--key", key, "--json")
        return json.loads(read.stdout) if read.stdout else None

    record = wait_for(told, 30, "the dead letter's record")
    headers = {name: base64.b64decode(text) for name, text in record["headers"].items()}
    assert headers["kafka_dlt-original-topic"] == b"order.created"
    assert b"orderId" in headers["kafka_dlt-exception-message"]
    (letter,) = rows(platform, "inventory", "SELECT message_id FROM messaging.dead_letters")
    verdict = (
        *("dead-letters", "discard", "inventory-service", str(letter["message_id"])),
        *("--why", "a test's poison"),
    )
    discarded = platform.run(*verdict)
    assert discarded.returncode == 0, discarded.stderr


def test_operators_see_who_reads_what(platform: PlatformProcess) -> None:
    """Consumers with their lag, the gate of a release, and topics; on either engine."""
    listed = platform.run("consumers", "list")
    assert listed.returncode == 0, listed.stderr
    assert {"inventory-service", "notification-service"} <= set(listed.stdout.split())
    gate = platform.run("lag", "--max-rows", "0", "--within", "20")
    assert gate.returncode == 0, gate.stdout + gate.stderr
    topics = platform.run("topics", "list")
    assert "order.confirmed" in topics.stdout
    status = platform.run("relay", "status")
    assert (status.returncode, status.stdout.count("direct")) == (0, 3), status.stderr
    held = platform.run("outbox", "held", "list")
    assert (held.returncode, held.stdout.strip()) == (0, "nothing is held")


def test_the_documents_tables_have_its_columns(platform: PlatformProcess) -> None:
    """R097, R099 to R102: each view as it is documented, over what the orders before have left."""
    for table, columns in DOCUMENTED.items():
        service = "inventory" if table in {"inventory", "reservation_log"} else "order"
        (first,) = rows(platform, service, f"SELECT * FROM reservation.{table} LIMIT 1")  # noqa: S608 - ours
        assert columns <= first.keys(), table


def repeats(platform: PlatformProcess, consumer: str) -> float:
    """Messages that its inbox knew."""
    page = platform.client.get(f"{platform.url(OFFSETS[consumer])}/metrics").text
    known = [line for line in page.splitlines() if line.startswith("inbox_processed_total{")]
    return sum(
        float(line.rpartition(" ")[2])
        for line in known
        if f'consumer="{consumer}-service"' in line and 'result="duplicate"' in line
    )


def traces(platform: PlatformProcess) -> list[int]:
    """How much there is of all that a message may leave: messages, moves of stock, steps, mails."""
    counted = (
        *(("order", "messaging.outbox"), ("order", "app.order_timeline")),
        *(("inventory", "messaging.outbox"), ("inventory", "reservation.reservation_log")),
        ("notification", "app.notifications"),
    )
    return [
        value(platform, service, f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
        for service, table in counted
    ]


def test_reset_consumers_read_again_and_apply_nothing_twice(platform: PlatformProcess) -> None:
    """R138, protocol D4: each while it runs; what it had is left out, what is new goes on."""
    stock(platform, "SKU-9", 5)
    becomes(platform, place(platform, "SKU-9", 1).json()["orderId"], "CONFIRMED")
    gate = platform.run("lag", "--max-rows", "0", "--within", "20")
    assert gate.returncode == 0, gate.stdout + gate.stderr
    before, known = traces(platform), {each: repeats(platform, each) for each, _ in ROUTES}
    for consumer, source in ROUTES:
        reset = platform.run("consumers", "reset", f"{consumer}-service", f"{source}-service")
        assert reset.returncode == 0, reset.stderr
    for consumer, source in ROUTES:
        wait_for(
            lambda: repeats(platform, consumer) > known[consumer],  # noqa: B023 - this one
            20,
            f"{consumer} is delivered again what {source} told",
        )
    gate = platform.run("lag", "--max-rows", "0", "--within", "20")
    assert gate.returncode == 0, gate.stdout + gate.stderr
    assert traces(platform) == before
    order_id = place(platform, "SKU-9", 2).json()["orderId"]
    becomes(platform, order_id, "CONFIRMED")
    assert level(platform, "SKU-9") == (2, 3)


def test_its_data_are_no_other_blueprints(platform: PlatformProcess) -> None:
    """A start with another one is refused in one line."""
    started = platform.run("up", "--blueprint", "choreography")
    assert started.returncode == 1
    assert "holds data of the blueprint 'reservation', not of 'choreography'" in started.stderr


def test_the_audit_is_clean(platform: PlatformProcess) -> None:
    """After all of it; nothing of payment applies."""
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "audit: clean" in report.stdout

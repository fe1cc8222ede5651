"""Documentation, actuator, metrics and the documented tables of every service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import asyncpg
import pytest
from tests.acceptance.database import rows, value
from tests.acceptance.processes import wait_for

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from tests.acceptance.processes import PlatformProcess

SERVICES = {1: "order", 2: "payment", 3: "inventory", 4: "notification"}
VIEWS = {
    "order": {
        "orders": "id customer_id status total_amount currency idempotency_key created_at "
        "updated_at version",
        "order_items": "id order_id product_id quantity unit_price",
        "idempotency_keys": "key order_id request_hash response_body created_at",
    },
    "inventory": {
        "products": "id name stock",
        "reservations": "id order_id product_id quantity status created_at",
    },
    "payment": {"payments": "id order_id amount status created_at"},
    "notification": {"notifications": "id order_id event_type message created_at"},
}
OUTBOX = "id aggregate_type aggregate_id event_type payload created_at published"
COUNTERS = {
    "order": ["orders_created_total", "orders_confirmed_total", "orders_cancelled_total"],
    "inventory": ["stock_reserved_total"],
    "payment": ["payments_processed_total"],
    "notification": [],
}
PUBLISHING = ("order", "inventory", "payment")

services = pytest.mark.parametrize("offset", SERVICES)


@services
def test_probes_and_actuator_answer(shared_platform: PlatformProcess, offset: int) -> None:
    """C28: alive, ready, healthy and described on each service's own port."""
    url = shared_platform.url(offset)
    get = shared_platform.client.get
    assert get(f"{url}/livez").json()["status"] == "UP"
    assert get(f"{url}/readyz").json()["status"] == "UP"
    assert get(f"{url}/health").json()["status"] == "UP"
    assert get(f"{url}/info").status_code == 200
    links = get(f"{url}/actuator").json()["_links"]
    assert {"health", "info", "metrics", "prometheus"} <= set(links)
    for link in links.values():
        assert get(url + link["href"]).status_code == 200
    names = get(f"{url}/actuator/metrics").json()["names"]
    assert get(f"{url}/actuator/metrics/{names[0]}").json()["name"] == names[0]
    health = get(f"{url}/actuator/health").json()
    assert set(health["components"]) >= {"db", "outbox", "loops"}


@services
def test_metrics_have_the_documents_names(shared_platform: PlatformProcess, offset: int) -> None:
    """Contracts 1.6: each documented meter is exposed, labelled with its application."""
    service = SERVICES[offset]
    shared_platform.client.get(f"{shared_platform.url(offset)}/api/nothing")
    for path in ("/metrics", "/actuator/prometheus"):
        text = shared_platform.client.get(shared_platform.url(offset) + path).text
        expected = COUNTERS[service] + ["outbox_published_total"] * (service in PUBLISHING)
        for name in (*expected, "http_server_requests_seconds_bucket"):
            found = re.findall(rf"^{name}\{{(.*)\}} \d", text, re.MULTILINE)
            assert found, name
            assert all(f'application="{service}-service"' in labels for labels in found)


def test_confirmed_orders_and_their_counter_agree(shared_platform: PlatformProcess) -> None:
    """I50: orders_confirmed_total is the number of rows, counted after the commit."""
    answer = shared_platform.place(str(new_id()))
    shared_platform.ended(answer.json()["id"])
    confirmed = "SELECT count(*) FROM orders WHERE status = 'CONFIRMED'"

    def agree() -> bool:
        text = shared_platform.client.get(f"{shared_platform.url(1)}/metrics").text
        found = re.search(r"^orders_confirmed_total\{.*\} (\S+)$", text, re.MULTILINE)
        assert found is not None
        return bool(float(found[1]) == value(shared_platform.data, "order", confirmed))

    wait_for(agree, 10, "the counter and the rows agree")


@services
def test_the_description_is_served(shared_platform: PlatformProcess, offset: int) -> None:
    """R052: OpenAPI at /api-docs names the service's routes."""
    document = shared_platform.client.get(f"{shared_platform.url(offset)}/api-docs").json()
    assert document["openapi"].startswith("3.")
    business = {1: "/api/orders", 2: "/api/payments", 3: "/api/products", 4: "/api/notifications"}
    assert business[offset] in document["paths"]


@services
def test_the_interactive_page_is_whole_and_ours(
    shared_platform: PlatformProcess, offset: int
) -> None:
    """Every file that the page refers to is served here, none from elsewhere."""
    start = f"{shared_platform.url(offset)}/swagger-ui.html"
    page = shared_platform.client.get(start, follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    references = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(references) >= 3
    assert "//" not in page.text.replace("<!DOCTYPE", "")
    for reference in references:
        answer = shared_platform.client.get(urljoin(str(page.url), reference))
        assert answer.status_code == 200, reference
        assert answer.content
        if reference.endswith(".css"):
            assert not re.search(r"url\(\s*['\"]?(https?:)?//", answer.text)
    script = shared_platform.client.get(urljoin(str(page.url), "swagger-initializer.js")).text
    assert "/api-docs" in script
    assert "http" not in script
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("service", VIEWS)
def test_documented_tables_are_readable_and_read_only(
    shared_platform: PlatformProcess, service: str
) -> None:
    """R108: contracts.md 1.5's tables, column by column, for the service's own role."""
    shared_platform.ended(shared_platform.place(str(new_id())).json()["id"])
    role = f"{service}_service"
    views = VIEWS[service] | {"processed_events": "event_id processed_at"}
    if service in PUBLISHING:
        views["outbox_events"] = OUTBOX
    for view, columns in views.items():
        statement = f"SELECT * FROM {view} LIMIT 5"  # noqa: S608 - constants
        wait_for(
            lambda s=statement: rows(shared_platform.data, service, s, role=role),  # type: ignore[misc] # a loop's variable
            10,
            f"rows in {view}",
        )
        found = rows(shared_platform.data, service, statement, role=role)
        assert " ".join(found[0]) == columns
        with pytest.raises(asyncpg.PostgresError):
            rows(shared_platform.data, service, f"DELETE FROM {view}", role=role)  # noqa: S608 - as above


def test_events_have_the_documented_envelope(shared_platform: PlatformProcess) -> None:
    """R078-R086: seven members, the order's id as key and correlation, on the three topics."""
    order_id = shared_platform.place(str(new_id())).json()["id"]
    shared_platform.ended(order_id)
    expected = {
        "order": ["OrderCreated", "OrderConfirmed"],
        "inventory": ["StockReserved"],
        "payment": ["PaymentSucceeded"],
    }
    for service, types in expected.items():
        statement = """
            SELECT o.event_type, o.payload::text AS payload, m.topic, m.aggregateid
            FROM outbox_events AS o JOIN messaging.outbox AS m USING (id)
            WHERE m.aggregateid = $1 ORDER BY m.seq
        """
        found = rows(shared_platform.data, service, statement, order_id)
        assert [row["event_type"] for row in found] == types
        for row in found:
            assert row["topic"] == f"{service}-events"
            for member in (
                *("eventId", "eventType", "occurredAt", "correlationId", "causationId"),
                *("version", "payload"),
            ):
                assert f'"{member}"' in row["payload"]
            assert f'"correlationId": "{order_id}"' in row["payload"]

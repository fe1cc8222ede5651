"""Seed 000 as its users meet it: orders by HTTP; a target that is down, slow, refusing, back."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.engines import on_engine, provisioned, rows, value
from tests.acceptance.notify_target import Target
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.mariadb import ENGINES

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

pytestmark = pytest.mark.acceptance
ORDER_SERVICE, NOTIFICATION_SERVICE = 1, 4
NOTIFICATION = "SELECT status, attempts FROM notify.notification WHERE order_id = $1"
TOLD = """
SELECT event_type, processed FROM notify.outbox_event
WHERE position($1 in payload) > 0 ORDER BY event_type DESC
"""


def notify_platform(directory: Path, **environment: str) -> PlatformProcess:
    """A platform of this blueprint, not started."""
    platform = PlatformProcess(
        directory / "data",
        port_base=free_port_base(),
        environment={"WAYBILL_BLUEPRINT": "notify", **environment},
    )
    platform.without = frozenset({"payment", "inventory"})
    return platform


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The service that is notified."""
    target = Target()
    yield target
    target.close()


@pytest.fixture(scope="module", params=ENGINES)
def platform(
    request: pytest.FixtureRequest, session_directory: Path, target: Target
) -> Iterator[PlatformProcess]:
    """A running platform whose deadlines and retries come soon, on each engine."""
    directory = Path(tempfile.mkdtemp(prefix="notify-", dir=session_directory))
    directory.chmod(0o711)
    with on_engine(request, request.param) as databases:
        platform = notify_platform(
            directory,
            NOTIFY_URL=target.url,
            NOTIFY_TOKEN="of-this-test",  # noqa: S106 - a test's
            WAYBILL_NOTIFY_TIMEOUT_SECONDS="0.5",
            WAYBILL_NOTIFY_RETRY_INTERVAL_SECONDS="2",
            WAYBILL_ORDER_DEADLINE_SECONDS="6",
            **databases,
        )
        try:
            yield provisioned(platform).start()
        finally:
            platform.close()
            shutil.rmtree(directory, ignore_errors=True)


def stock(platform: PlatformProcess, number: int, count: int) -> None:
    """PUT that much of a product."""
    url = f"{platform.url(ORDER_SERVICE)}/product/{number}"
    level = platform.client.put(url, json={"name": f"Product {number}", "stock": count})
    assert (level.status_code, level.json()["stock"]) == (200, count)


def place(platform: PlatformProcess, *products: int, **headers: str) -> httpx2.Response:
    """POST one order."""
    body = {"userId": 1, "productIds": list(products)}
    url = f"{platform.url(ORDER_SERVICE)}/order"
    return platform.client.post(url, json=body, headers=headers)


def shown(platform: PlatformProcess, order_id: str) -> dict[str, Any]:
    """GET it."""
    url = f"{platform.url(ORDER_SERVICE)}/order/{order_id}"
    found: dict[str, Any] = platform.client.get(url).json()
    return found


def becomes(platform: PlatformProcess, order_id: str, status: str) -> dict[str, Any]:
    """Wait until the order has this status; the order."""

    def there() -> dict[str, Any] | None:
        order = shown(platform, order_id)
        return order if order["status"] == status else None

    return wait_for(there, 40, f"order {order_id} is {status}")


def notice_becomes(platform: PlatformProcess, order_id: str, status: str) -> int:
    """Wait until the documented table shows this of the order's notification; its tries."""

    def there() -> list[int]:
        found = rows(platform, "order", NOTIFICATION, order_id)
        return [row["attempts"] for row in found if row["status"] == status]

    (attempts,) = wait_for(there, 40, f"the notification of {order_id} is {status}")
    return attempts


def is_told(platform: PlatformProcess, order_id: str, event: str, *, processed: bool) -> None:
    """Wait until outbox_event has this of the order."""

    def there() -> bool:
        found = [tuple(row.values()) for row in rows(platform, "order", TOLD, order_id)]
        return (event, processed) in found

    wait_for(there, 40, f"{event} of {order_id}")


def level(platform: PlatformProcess, number: int) -> int:
    """What can be ordered of a product."""
    url = f"{platform.url(ORDER_SERVICE)}/product/{number}"
    found: int = platform.client.get(url).json()["stock"]
    return found


def calls_about(target: Target, order_id: str) -> list[str]:
    """The keys of the calls that were made about an order."""
    return [
        each.headers["idempotency-key"]
        for each in target.asked
        if json.loads(each.body)["orderId"] == order_id
    ]


def test_an_order_is_placed_and_notified(platform: PlatformProcess, target: Target) -> None:
    """200 PLACED with its stock, then NOTIFIED; POST /notify had the event's JSON and id."""
    stock(platform, 11, 10)
    placed = place(platform, 11, 11, 2)
    order_id = placed.json()["orderId"]
    assert (placed.status_code, placed.json()) == (
        200,
        {"orderId": order_id, "status": "PLACED", "message": "Order placed successfully"},
    )
    order = becomes(platform, order_id, "NOTIFIED")
    assert (order["userId"], order["productIds"]) == (1, [11, 11, 2])
    assert (level(platform, 11), level(platform, 2)) == (8, 4)
    (asked,) = [each for each in target.asked if order_id in each.body.decode()]
    assert (asked.method, asked.path) == ("POST", "/notify")
    assert json.loads(asked.body) == {
        "orderId": order_id,
        "userId": 1,
        "productIds": [11, 11, 2],
    }
    event = "SELECT id FROM messaging.outbox WHERE aggregateid = $1"
    (sent,) = rows(platform, "order", event, order_id)
    assert asked.headers["idempotency-key"] == str(sent["id"])
    assert asked.headers["x-correlation-id"] == order_id
    assert asked.headers["authorization"] == "Bearer of-this-test"
    is_told(platform, order_id, "ORDER_CREATED", processed=True)
    is_told(platform, order_id, "NOTIFY_SUCCESS", processed=True)


def test_what_cannot_be_served_is_refused(platform: PlatformProcess) -> None:
    """404, 409 and 400; nothing is stored, and what was not asked for stays."""
    before = value(platform, "order", "SELECT count(*) FROM app.orders")
    stock(platform, 12, 2)
    unknown, few = place(platform, 12, 99), place(platform, 12, 12, 12)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "product_not_found")
    assert (few.status_code, few.json()["code"]) == (409, "out_of_stock")
    url = f"{platform.url(ORDER_SERVICE)}/order"
    wrong = platform.client.post(url, json={"userId": "1", "productIds": []})
    assert wrong.status_code == 400
    assert {each["pointer"] for each in wrong.json()["errors"]} == {"#/userId", "#/productIds"}
    assert platform.client.get(f"{url}/{new_id()}").status_code == 404
    assert value(platform, "order", "SELECT count(*) FROM app.orders") == before
    assert level(platform, 12) == 2


def test_a_repeated_key_is_one_order(platform: PlatformProcess) -> None:
    """The first answer again, and the stock of one; another payload is 409."""
    stock(platform, 13, 5)
    key = {"Idempotency-Key": "again"}
    first, second = (place(platform, 13, **key) for _ in range(2))
    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert place(platform, 13, 13, **key).json()["code"] == "idempotency_key_reused"
    assert level(platform, 13) == 4
    becomes(platform, first.json()["orderId"], "NOTIFIED")


def test_a_target_that_refuses_has_failed_notifications_until_it_works(
    platform: PlatformProcess, target: Target
) -> None:
    """One try and three retries, NOTIFY_FAILED; the periodic retry closes the row (R166, R167)."""
    stock(platform, 14, 5)
    target.answer(400)
    order_id = place(platform, 14).json()["orderId"]
    assert notice_becomes(platform, order_id, "NOTIFY_FAILED") == 4
    assert len(calls_about(target, order_id)) >= 4
    is_told(platform, order_id, "NOTIFY_FAILED", processed=False)
    assert shown(platform, order_id)["status"] == "PLACED"
    target.answer(200)
    becomes(platform, order_id, "NOTIFIED")
    notice_becomes(platform, order_id, "NOTIFY_SUCCESS")
    (key,) = set(calls_about(target, order_id))
    assert target.effects.count(key) == 1
    is_told(platform, order_id, "NOTIFY_SUCCESS", processed=True)


def test_a_target_that_does_not_answer_is_asked_again_with_the_same_key(
    platform: PlatformProcess, target: Target
) -> None:
    """R170: PENDING after the time-out, and tried again; POST /order waits for none of it."""
    stock(platform, 15, 5)
    target.hang(2)
    order_id = place(platform, 15).json()["orderId"]
    wait_for(lambda: calls_about(target, order_id), 20, "the first call")
    assert [each["status"] for each in rows(platform, "order", NOTIFICATION, order_id)] == [
        "PENDING"
    ]
    becomes(platform, order_id, "NOTIFIED")
    calls = calls_about(target, order_id)
    assert len(calls) == 3
    assert len(set(calls)) == 1


def test_an_outage_delays_notifications_and_loses_none(
    platform: PlatformProcess, target: Target
) -> None:
    """R032, R168, R169: orders go on, the breaker opens; all are notified once after it."""
    stock(platform, 16, 100)
    target.stop()
    ids = [place(platform, 16).json()["orderId"] for _ in range(30)]

    def is_open() -> bool:
        page = platform.client.get(f"{platform.url(ORDER_SERVICE)}/metrics").text
        states = [line for line in page.splitlines() if line.startswith("circuit_breaker_state{")]
        about = [line for line in states if 'name="notify"' in line and 'state="open"' in line]
        return bool(about) and about[0].endswith(" 1.0")

    wait_for(is_open, 30, "the breaker is open")
    assert {shown(platform, order_id)["status"] for order_id in ids} == {"PLACED"}
    target.start()
    for order_id in ids:
        becomes(platform, order_id, "NOTIFIED")
    keys = {key for order_id in ids for key in calls_about(target, order_id)}
    assert len(keys) == 30
    assert all(target.effects.count(key) == 1 for key in keys)


def test_a_stranded_order_is_reconciled(platform: PlatformProcess, target: Target) -> None:
    """R165: its call is gone from the books; when its deadline is over it is asked for again."""
    stock(platform, 17, 5)
    target.answer(500)
    order_id = place(platform, 17).json()["orderId"]
    wait_for(lambda: calls_about(target, order_id), 20, "the first call")
    gone = "DELETE FROM messaging.deliveries WHERE left(key, 36) = $1 RETURNING key"
    assert rows(platform, "order", gone, order_id)
    target.answer(200)
    becomes(platform, order_id, "NOTIFIED")
    count = "SELECT count(*) FROM messaging.outbox WHERE aggregateid = $1"
    assert value(platform, "order", count, order_id) >= 2


def test_a_crash_with_calls_under_way_loses_and_doubles_nothing(
    platform: PlatformProcess, target: Target
) -> None:
    """R184 to R186: killed after the commits, some before their call and some after it."""
    stock(platform, 18, 100)
    target.hang(3)
    ids = [place(platform, 18).json()["orderId"] for _ in range(10)]
    wait_for(lambda: any(calls_about(target, each) for each in ids), 20, "a call")
    platform.kill()
    platform.start()
    for order_id in ids:
        becomes(platform, order_id, "NOTIFIED")
    keys = {key for order_id in ids for key in calls_about(target, order_id)}
    assert len(keys) == 10
    assert level(platform, 18) == 90


def test_notify_takes_a_message_once(platform: PlatformProcess) -> None:
    """R033, R034: any JSON object, `{"request": ""}` too; a repeat is told so and does nothing."""
    url = f"{platform.url(NOTIFICATION_SERVICE)}/notify"
    plain = platform.client.post(url, json={"request": ""})
    assert (plain.status_code, plain.text) == (200, "Notified successfully")
    key = {"Idempotency-Key": str(new_id())}
    first, second = (platform.client.post(url, json={"request": "x"}, headers=key) for _ in "ab")
    assert (first.status_code, second.status_code) == (200, 200)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    count = "SELECT count(*) FROM messaging.inbox WHERE consumer = 'notify-receiver'"
    assert value(platform, "notification", count) == 2


def test_the_audit_is_clean(platform: PlatformProcess) -> None:
    """After all of it: stock in the order's database, and one notification an order."""
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "audit: clean" in report.stdout
    for rule in ("I29", "I31", "I33", "I42"):
        (line,) = [each for each in report.stdout.splitlines() if each.startswith(rule)]
        assert "clean" in line, line


def test_the_audit_finds_stock_and_notices_that_are_wrong(platform: PlatformProcess) -> None:
    """Planted: a unit that nobody brought, an order that is NOTIFIED and was not told of."""
    stock(platform, 19, 5)
    order_id = place(platform, 19).json()["orderId"]
    becomes(platform, order_id, "NOTIFIED")
    more = "UPDATE app.products SET available = available + 1 WHERE name = 'Product 19'"
    rows(platform, "order", more)
    untold = "DELETE FROM messaging.deliveries WHERE left(key, 36) = $1"
    rows(platform, "order", untold, order_id)
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 1, report.stdout + report.stderr
    for rule in ("I30", "I31", "I42"):
        (line, *_) = [each for each in report.stdout.splitlines() if each.startswith(rule)]
        assert "clean" not in line, line
    assert order_id in report.stdout

"""Seed 002 as its users meet it: `checkout` behind its gateway, and a payment provider by HTTP."""

from __future__ import annotations

import base64
import secrets
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.acceptance.database import rows
from tests.acceptance.processes import MOUSE, PlatformProcess, free_port_base, wait_for
from tests.acceptance.shop import DECLINED, PENDED, Surroundings
from tests.acceptance.signing_in import GENEROUS, sign_in_both
from tests.acceptance.stages import STAGES

from waybill.commerce.orders.paying import PAYMENT
from waybill.commerce.payments.domain import CHARGE
from waybill.commerce.payments.webhook import sign
from waybill.commerce.payments.webhook_api import PATH as WEBHOOK
from waybill.commerce.testing.http_server import Fault
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance
TOKEN, SECRET = secrets.token_hex(16), "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
WAIT_SECONDS = 2.0
GATEWAY = 0
EVENTS = "SELECT type FROM messaging.outbox WHERE aggregateid = $1 ORDER BY seq"


@pytest.fixture(scope="module")
def around() -> Iterator[Surroundings]:
    """A provider, and a way to the payment service that can be shut."""
    with Surroundings(token=TOKEN) as surroundings:
        yield surroundings


@pytest.fixture(scope="module")
def platform(
    session_directory: Path, provisioned_data: Path, around: Surroundings
) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint on data of its own, with stock."""
    directory = Path(tempfile.mkdtemp(prefix="checkout-", dir=session_directory))
    directory.chmod(0o711)
    STAGES["checkout"].copy(provisioned_data, directory / "data")
    token = directory / "token"
    token.write_text(TOKEN + "\n")
    port_base = free_port_base()
    around.gate.behind = port_base + 2
    platform = PlatformProcess(
        directory / "data",
        port_base=port_base,
        environment={
            "WAYBILL_BLUEPRINT": "checkout",
            "WAYBILL_PAYMENT_WAIT_SECONDS": str(WAIT_SECONDS),
            "WAYBILL_PAYMENT_URL": f"http://127.0.0.1:{around.gate.port}",
            "PAYMENT_PROVIDER_URL": around.provider.url,
            "PAYMENT_PROVIDER_TOKEN_FILE": str(token),
            "PAYMENT_WEBHOOK_SECRETS": SECRET,
            **GENEROUS,
        },
    )
    platform.has_edge = True
    try:
        platform.start()
        sign_in_both(platform)
        yield platform
    finally:
        platform.close()
        shutil.rmtree(directory, ignore_errors=True)


def place(
    platform: PlatformProcess,
    key: str = "",
    *,
    price: Decimal = Decimal("29.99"),
    quantity: int = 1,
    path: str = "/api/v1/orders",
    client: httpx2.Client | None = None,
) -> httpx2.Response:
    """POST one order through the gateway, by default under a key of its own."""
    return (client or platform.client).post(
        f"{platform.url(GATEWAY)}{path}",
        json={
            "items": [{"productId": MOUSE, "quantity": quantity, "unitPrice": str(price)}],
            "currency": "EUR",
            "customer": {"name": "Alice", "email": "alice@example.com"},
        },
        headers={"Idempotency-Key": key or str(new_id()), **platform.as_customer},
    )


def order(platform: PlatformProcess, order_id: str) -> dict[str, Any]:
    """GET one order."""
    found: dict[str, Any] = platform.client.get(
        f"{platform.url(GATEWAY)}/api/v1/orders/{order_id}", headers=platform.as_customer
    ).json()
    return found


def cancelling(platform: PlatformProcess, order_id: str) -> httpx2.Response:
    """POST the customer's cancel."""
    return platform.client.post(
        f"{platform.url(GATEWAY)}/api/v1/orders/{order_id}/cancel", headers=platform.as_customer
    )


def becomes(platform: PlatformProcess, order_id: str, status: str) -> dict[str, Any]:
    """Wait until the order has this status; the order."""

    def there() -> dict[str, Any] | None:
        found = order(platform, order_id)
        return found if found["status"] == status else None

    return wait_for(there, 40, f"order {order_id} is {status}")


def charges(around: Surroundings, order_id: str) -> int:
    """How often the provider was asked to charge this order."""
    return sum(
        asked.method == "POST" and asked.headers.get("idempotency-key") == order_id
        for asked in list(around.provider.asked)
        if asked.path == "/charges"
    )


def told(platform: PlatformProcess, order_id: str) -> set[str]:
    """Kinds of the notifications about this order."""
    url = f"{platform.url(GATEWAY)}/api/notifications?orderId={order_id}"
    answer = platform.client.get(url, headers=platform.as_operator)
    return {each["eventType"] for each in answer.json()["items"]}


def test_a_paid_order_is_confirmed_in_the_answer(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """201 CONFIRMED after the capture; then stock is sold and the customer told, by events."""
    before = platform.products()[MOUSE]["stock"]
    placed = place(platform, "first", quantity=2)
    order_id = placed.json()["orderId"]
    assert around.provider.charges[order_id].status == "captured"
    assert (placed.status_code, placed.json()) == (
        201,
        {"orderId": order_id, "status": "CONFIRMED", "totalAmount": 59.98, "currency": "EUR"},
    )
    shown = order(platform, order_id)
    assert (shown["status"], shown["customer"]["name"]) == ("CONFIRMED", "Alice")
    wait_for(lambda: platform.products()[MOUSE]["stock"] == before - 2 or None, 20, "stock is sold")
    wait_for(lambda: told(platform, order_id) == {"OrderCreated"} or None, 20, "a notification")
    events = rows(platform.data, "order", EVENTS, order_id)
    assert [row["type"] for row in events] == ["order.created"]
    again = place(platform, "first", quantity=2)
    assert (again.status_code, again.content) == (201, placed.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    alias = place(platform, "first", quantity=2, path="/checkout")
    assert (alias.status_code, alias.content) == (201, placed.content)
    assert place(platform, "first", quantity=1).status_code == 409
    assert charges(around, order_id) == 1


def test_a_refused_payment_cancels_the_order(platform: PlatformProcess) -> None:
    """402 with the order's id, and the same again for the same key; no stock is asked for."""
    placed = place(platform, "declined", price=DECLINED)
    assert placed.status_code == 402
    assert placed.headers["Content-Type"] == "application/problem+json"
    problem = placed.json()
    assert (problem["code"], problem["detail"]) == ("payment_refused", "Insufficient funds")
    assert order(platform, problem["orderId"])["status"] == "CANCELLED"
    again = place(platform, "declined", price=DECLINED)
    assert (again.status_code, again.content) == (402, placed.content)
    events = rows(platform.data, "order", EVENTS, problem["orderId"])
    assert [row["type"] for row in events] == ["order.cancelled"]


def test_refused_stock_gives_the_money_back(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """CONFIRMED when paid; without stock CANCELLED, refunded, and the customer is told both."""
    placed = place(platform, quantity=10_000, price=Decimal("0.01"))
    order_id = placed.json()["orderId"]
    assert placed.json()["status"] == "CONFIRMED"
    becomes(platform, order_id, "CANCELLED")
    wait_for(lambda: around.provider.refunds.get(order_id), 20, "the refund")
    both = {"OrderCreated", "OrderCancelled"}
    wait_for(lambda: told(platform, order_id) == both or None, 20, "both notifications")
    (updated,) = rows(
        platform.data,
        "inventory",
        "SELECT convert_from(payload, 'UTF8')::jsonb #>> '{payload,status}' AS status "
        "FROM messaging.outbox WHERE aggregateid = $1",
        order_id,
    )
    assert updated["status"] == "REJECTED"


def test_a_lost_answer_of_the_provider_is_one_charge(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """The provider captured and hung up: it is asked, not charged again (R174)."""
    around.provider.faults.append(Fault.DROP_AFTER_WORK)
    placed = place(platform)
    order_id = placed.json()["orderId"]
    assert placed.status_code in {201, 202}
    becomes(platform, order_id, "CONFIRMED")
    assert charges(around, order_id) == 1


def test_a_provider_that_is_away_is_paid_later(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """202 PENDING with Location within the wait; the same answer later, when it is confirmed."""
    around.do(around.provider.stop())
    began = time.monotonic()
    placed = place(platform, "away")
    assert time.monotonic() - began < WAIT_SECONDS + 2
    order_id = placed.json()["orderId"]
    assert (placed.status_code, placed.json()["status"]) == (202, "PENDING")
    assert placed.headers["Location"] == f"/api/v1/orders/{order_id}"
    cancelled = place(platform).json()["orderId"]
    cancel = cancelling(platform, cancelled)
    assert (cancel.status_code, cancel.json()["status"]) == (200, "CANCELLED")
    around.do(around.provider.start())
    becomes(platform, order_id, "CONFIRMED")
    again = place(platform, "away")
    assert (again.status_code, again.content) == (202, placed.content)
    late = cancelling(platform, order_id)
    assert (late.status_code, late.json()["code"]) == (409, "order_not_cancellable")

    def nothing_kept() -> bool:
        captured = around.provider.charges.get(cancelled)
        return captured is None or cancelled in around.provider.refunds

    wait_for(lambda: nothing_kept() or None, 20, "nothing is kept of the cancelled order")


def test_a_payment_service_that_is_away_opens_the_breaker(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """Orders are taken all the same; once it is open none waits; later all are paid (R173)."""
    around.do(around.gate.shut())
    with ThreadPoolExecutor(8) as pool, httpx2.Client(timeout=30) as client:
        taken = list(pool.map(lambda _: place(platform, client=client), range(8)))

    wait_for(lambda: breaker_is_open(platform, PAYMENT, service=1), 20, "the breaker is open")

    def at_once() -> bool | None:
        began = time.monotonic()
        taken.append(place(platform))
        return time.monotonic() - began < WAIT_SECONDS / 2 or None

    wait_for(at_once, 30, "an answer that did not wait")
    assert {each.status_code for each in taken} == {202}
    around.do(around.gate.open())
    for each in taken:
        becomes(platform, each.json()["orderId"], "CONFIRMED")
        assert charges(around, each.json()["orderId"]) == 1


def breaker_is_open(platform: PlatformProcess, name: str, *, service: int) -> bool | None:
    """Whether a service turns these calls away."""
    page = platform.client.get(f"{platform.url(service)}/actuator/prometheus").text
    return 'state="open"} 1.0' in _lines(page, f'name="{name}"') or None


def _lines(page: str, words: str) -> str:
    return "\n".join(line for line in page.splitlines() if words in line)


def test_a_slow_provider_is_asked_and_charges_once(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """It takes 5 s, a call at most 4: 202 within the wait, then it is asked what became of it."""
    around.provider.slow_seconds["POST"] = 5.0
    with ThreadPoolExecutor(3) as pool, httpx2.Client(timeout=30) as client:
        began = time.monotonic()
        taken = list(pool.map(lambda _: place(platform, client=client), range(3)))
        assert time.monotonic() - began < WAIT_SECONDS + 2
    assert {each.status_code for each in taken} == {202}
    for each in taken:
        becomes(platform, each.json()["orderId"], "CONFIRMED")
        assert charges(around, each.json()["orderId"]) == 1
    around.provider.slow_seconds.clear()


def test_slow_answers_alone_open_the_breaker(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """Captured in 2.5 s, no call fails: most are slow, so it opens (R176); each pays once."""
    paid_at_once(platform)
    failed = breaker_calls(platform, "failed")
    around.provider.slow_seconds["POST"] = 2.5
    with ThreadPoolExecutor(20) as pool, httpx2.Client(timeout=30) as client:
        taken = list(pool.map(lambda _: place(platform, client=client), range(20)))
    wait_for(lambda: breaker_is_open(platform, CHARGE, service=2), 20, "the breaker is open")
    assert breaker_calls(platform, "failed") == failed
    around.provider.slow_seconds.clear()
    assert {each.status_code for each in taken} == {202}
    for each in taken:
        becomes(platform, each.json()["orderId"], "CONFIRMED")
        assert charges(around, each.json()["orderId"]) == 1
    paid_at_once(platform)


def paid_at_once(platform: PlatformProcess) -> None:
    """Wait until every breaker has closed again."""

    def paid() -> bool | None:
        if place(platform).status_code == 201:
            return True
        time.sleep(0.5)  # an open breaker answers at once: tries would use up the stock
        return None

    wait_for(paid, 30, "an order paid in its answer")


def breaker_calls(platform: PlatformProcess, kind: str) -> float:
    """Charges at the provider so far, by what became of them."""
    page = platform.client.get(f"{platform.url(2)}/actuator/prometheus").text
    (found,) = [
        line
        for line in _lines(page, "circuit_breaker_calls_total{").splitlines()
        if f'name="{CHARGE}"' in line and f'kind="{kind}"' in line
    ]
    return float(found.rpartition(" ")[2])


def test_a_webhook_decides_what_the_provider_keeps_waiting(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """A charge that is pending for ever is settled by its signed notice alone."""
    placed = place(platform, price=PENDED)
    assert placed.status_code == 202
    order_id = placed.json()["orderId"]
    body = around.provider.webhook("charge", order_id).replace(b'"pending"', b'"captured"')
    headers = sign(SECRET, "msg_1", body, now=datetime.now(UTC))  # noqa: TID251 - the provider's clock
    url = f"{platform.url(2)}{WEBHOOK}"
    assert platform.client.post(url, content=body).status_code == 401
    assert platform.client.post(url, content=body, headers=headers).status_code == 204
    becomes(platform, order_id, "CONFIRMED")
    around.provider.decide(order_id, "captured")


def test_an_order_whose_request_dies_is_paid_once(
    platform: PlatformProcess, around: Surroundings
) -> None:
    """SIGKILL while the payment is under way: the deliverer takes over, the key has its answer."""
    around.provider.faults.append(Fault.HANG_AFTER_WORK)
    known = set(around.provider.charges)
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(place, platform, "killed")
        wait_for(lambda: set(around.provider.charges) - known, 20, "the charge is under way")
        platform.kill()
        with pytest.raises(httpx2.TransportError):
            lost.result(timeout=20)
    (order_id,) = set(around.provider.charges) - known
    platform.start()
    becomes(platform, order_id, "CONFIRMED")
    answer = place(platform, "killed")
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert (answer.status_code, answer.json()["orderId"]) in {(201, order_id), (202, order_id)}
    assert charges(around, order_id) == 1


def test_the_audit_is_clean(platform: PlatformProcess, around: Surroundings) -> None:
    """After all of it; of the provider's own books it says that it cannot look at them."""
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "its payment provider keeps no ledger" in report.stdout
    kept = {key for key, each in around.provider.charges.items() if each.status == "captured"}
    confirmed = {
        str(row["id"])
        for row in rows(
            platform.data, "order", "SELECT id FROM app.orders WHERE status = 'CONFIRMED'"
        )
    }
    assert kept - set(around.provider.refunds) == confirmed
    assert SECRET not in platform.log.read_text()
    assert TOKEN not in platform.log.read_text()

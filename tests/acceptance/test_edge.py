"""Accounts and gateway as their users meet them: one platform, everything through one port."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.database import rows
from tests.acceptance.processes import MOUSE, PlatformProcess
from tests.acceptance.signing_in import AUTH, PASSWORD, log_in, register

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from tests.acceptance.conftest import NewPlatform

pytestmark = pytest.mark.acceptance
GATEWAY, ORDER, PAYMENT, ACCOUNTS, OPERATIONS = 0, 1, 2, 6, 7
ORDERS, CHARGE = "/api/v1/orders", "/api/checkout/charge"
OLD: list[dict[str, Any]] = []
"""What was answered before tokens were asked for."""


@pytest.fixture(scope="module")
def platform(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """Seed 002's platform, which has both of them, and so tokens, unless told otherwise."""
    with new_platform(
        WAYBILL_BLUEPRINT="checkout", WAYBILL_PAYMENT_FORCE_OUTCOME="success", WAYBILL_EDGE="false"
    ) as platform:
        OLD.append(_place(platform.start(), "", offset=ORDER, key="old").json())
        assert platform.stop() == 0
        del platform.environment["WAYBILL_EDGE"]
        platform.has_edge = True
        yield platform.start()


def _send(
    platform: PlatformProcess,
    method: str,
    path: str,
    token: str = "",
    **given: Any,  # noqa: ANN401 - what httpx2 takes
) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= given.pop("headers", {})
    offset = given.pop("offset", GATEWAY)
    return platform.client.request(method, platform.url(offset) + path, headers=headers, **given)


def _signed_in(platform: PlatformProcess, email: str) -> tuple[str, str]:
    """The id and a token of a new customer."""
    account_id = register(platform, email)
    return account_id, log_in(platform, email)["Authorization"].removeprefix("Bearer ")


def _place(
    platform: PlatformProcess, token: str, offset: int = GATEWAY, key: str = "k-1"
) -> httpx2.Response:
    body = {
        "items": [{"productId": MOUSE, "quantity": 1, "unitPrice": 29.99}],
        "currency": "EUR",
    }
    headers = {"Idempotency-Key": key, "X-User-Id": "somebody-else"}
    return _send(platform, "POST", ORDERS, token, json=body, headers=headers, offset=offset)


def test_a_customer_orders_through_the_gateway_and_sees_only_their_own(
    platform: PlatformProcess,
) -> None:
    """R006, R007, R010, R043: one port, tokens, ownership; keys are their callers' own.

    The order is paid inside its request, so the services show one another tokens, too.
    """
    _, ada = _signed_in(platform, "ada@example.org")
    _, bob = _signed_in(platform, "bob@example.org")
    placed = _place(platform, ada)
    assert (placed.status_code, placed.json()["status"]) == (201, "CONFIRMED"), placed.text
    assert _place(platform, ada).json() == placed.json()
    path = f"{ORDERS}/{placed.json()['orderId']}"
    for offset in (GATEWAY, ORDER):
        assert _place(platform, "", offset=offset).status_code == 401
        assert _place(platform, "a.b.c", offset=offset).status_code == 401
        assert _send(platform, "GET", path, offset=offset).status_code == 401
        assert _send(platform, "GET", path, bob, offset=offset).status_code == 404
        assert _send(platform, "GET", path, ada, offset=offset).status_code == 200
    charge = {"orderId": placed.json()["orderId"], "amount": 29.99, "currency": "EUR"}
    for token, status in (("", 401), (ada, 403)):
        asked = _send(platform, "POST", CHARGE, token, json=charge, offset=PAYMENT)
        assert asked.status_code == status
    assert _send(platform, "POST", CHARGE, ada, json=charge).status_code == 404
    theirs = _place(platform, bob)
    assert theirs.status_code == 201
    assert theirs.json()["orderId"] != placed.json()["orderId"]


def test_a_key_of_before_tokens_were_on_is_found(platform: PlatformProcess) -> None:
    """An old retry, now with a token, is no second order."""
    _, token = _signed_in(platform, "grace@example.org")
    again = _place(platform, token, key="old")
    assert (again.status_code, [again.json()]) == (201, OLD)
    assert again.headers["idempotent-replayed"] == "true"
    counted = rows(
        platform.data, "order", "SELECT id FROM app.orders WHERE idempotency_key = 'old'"
    )
    assert len(counted) == 1


def test_roles_come_from_the_operator_of_the_platform(platform: PlatformProcess) -> None:
    """`waybill accounts roles`: the next token has them."""
    product = {"name": "Webcam", "stock": 3}
    _, token = _signed_in(platform, "eve@example.org")
    assert _send(platform, "POST", "/api/products", token, json=product).status_code == 403
    told = platform.run("accounts", "roles", "Eve@example.org", "customer", "operator")
    assert told.stdout == "Eve@example.org: customer, operator\n", told.stderr
    credentials = {"email": "eve@example.org", "password": PASSWORD}
    granted = _send(platform, "POST", f"{AUTH}/login", json=credentials).json()
    made = _send(platform, "POST", "/api/products", granted["accessToken"], json=product)
    assert made.status_code == 201
    listed = platform.run("accounts", "list", "--json").stdout
    assert "eve@example.org" in listed
    unknown = platform.run("accounts", "roles", "nobody@example.org", "admin")
    assert (unknown.returncode, "register it first" in unknown.stderr) == (1, True)


def test_operations_are_not_reached_from_outside(platform: PlatformProcess) -> None:
    """API8: the gateway's own metrics are on a port of this machine; the services' nowhere."""
    for path in ("/metrics", "/actuator/health", "/api-docs", "/swagger-ui/index.html"):
        assert _send(platform, "GET", path).status_code == 404
    shown = _send(platform, "GET", "/metrics", offset=OPERATIONS).text
    assert 'http_route="/api/v1/auth"' in shown or "/api/v1/auth" in shown
    assert _send(platform, "GET", "/actuator/health", offset=ACCOUNTS).json()["status"] == "UP"


def test_nothing_secret_is_in_the_log_or_the_outbox(platform: PlatformProcess) -> None:
    """I48, I45: passwords, tokens and addresses stand in neither."""
    _, token = _signed_in(platform, "canary@example.org")
    _send(platform, "GET", ORDERS, token + "x")
    log = platform.log.read_text(errors="replace")
    for secret in (PASSWORD, token, token.rpartition(".")[2], "canary@example.org"):
        assert secret not in log
    events = rows(platform.data, "accounts", "SELECT type, payload FROM messaging.outbox")
    assert {event["type"] for event in events} == {"AccountRegistered"}
    assert all(b"@" not in bytes(event["payload"]) for event in events)
    assert all(json.loads(event["payload"])["roles"] == ["customer"] for event in events)


def test_the_audit_looks_at_the_accounts_outbox_too(platform: PlatformProcess) -> None:
    """I19 to I21, I45: it is an outbox as every other; a key that is not the event's is told."""
    clean = platform.run("audit", "--settle", "30")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    wrong = "UPDATE messaging.outbox SET aggregateid = 'x' || aggregateid"
    rows(platform.data, "accounts", wrong)
    violated = platform.run("audit", "--kind", "Q", "--settle", "30")
    assert violated.returncode == 1, violated.stdout + violated.stderr
    assert "I21" in violated.stdout


def test_its_services_are_in_the_registry(platform: PlatformProcess) -> None:
    """R009: seed 002's platform has discovery, by which its gateway finds them."""
    listed = [json.loads(line) for line in platform.run("registry", "--json").stdout.splitlines()]
    offsets = {"order": 1, "payment": 2, "inventory": 3, "notification": 4, "accounts": ACCOUNTS}
    assert {(row["service"], row["address"], row["status"]) for row in listed} == {
        (f"{name}-service", platform.url(offset), "UP") for name, offset in offsets.items()
    }


def test_it_stops_as_every_platform_does(platform: PlatformProcess) -> None:
    """P11: SIGTERM drains, and the exit status is 0."""
    assert platform.stop() == 0

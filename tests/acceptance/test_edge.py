"""Accounts and gateway as their users meet them: one platform, everything through one port."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.acceptance.database import rows
from tests.acceptance.processes import MOUSE, PlatformProcess, free_port_base, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance
PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test
GATEWAY, ORDER, ACCOUNTS, OPERATIONS = 0, 1, 6, 7
AUTH = "/api/v1/auth"


@pytest.fixture(scope="module")
def platform(session_directory: Path) -> Iterator[PlatformProcess]:
    """A running platform with both of them, and so with tokens."""
    directory = Path(tempfile.mkdtemp(prefix="edge-", dir=session_directory))
    directory.chmod(0o711)
    platform = PlatformProcess(
        directory / "data",
        port_base=free_port_base(),
        environment={"WAYBILL_ACCOUNTS": "true", "WAYBILL_GATEWAY": "true"},
    )
    try:
        platform.start()
        wait_for(lambda: _alive(platform, GATEWAY), 30, "the gateway")
        yield platform
    finally:
        platform.close()
        shutil.rmtree(directory, ignore_errors=True)


def _alive(platform: PlatformProcess, offset: int) -> bool:
    try:
        return platform.client.get(f"{platform.url(offset)}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


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
    credentials = {"email": email, "password": PASSWORD}
    account = _send(platform, "POST", f"{AUTH}/register", json=credentials)
    assert account.status_code == 201, account.text
    granted = _send(platform, "POST", f"{AUTH}/login", json=credentials)
    return account.json()["id"], granted.json()["accessToken"]


def _place(
    platform: PlatformProcess,
    customer: str,
    token: str,
    **more: Any,  # noqa: ANN401 - as _send takes
) -> httpx2.Response:
    body = {
        "customerId": customer,
        "items": [{"productId": MOUSE, "quantity": 1, "unitPrice": 29.99}],
    }
    headers = {"Idempotency-Key": "k-1", **more.pop("headers", {})}
    return _send(platform, "POST", "/api/orders", token, json=body, headers=headers, **more)


def test_a_customer_orders_through_the_gateway_and_sees_only_their_own(
    platform: PlatformProcess,
) -> None:
    """R006, R007, R010, R043: one port, tokens, roles, ownership; and the order gets its end."""
    ada, ada_token = _signed_in(platform, "ada@example.org")
    bob, bob_token = _signed_in(platform, "bob@example.org")
    placed = _place(platform, ada, ada_token, headers={"X-User-Id": bob})
    assert placed.status_code == 201, placed.text
    path = f"/api/orders/{placed.json()['id']}"
    wait_for(
        lambda: (
            _send(platform, "GET", path, ada_token).json()["status"] in {"CONFIRMED", "CANCELLED"}
        ),
        30,
        "the order's end",
    )
    for offset in (GATEWAY, ORDER):
        assert _send(platform, "GET", path, offset=offset).status_code == 401
        assert _send(platform, "GET", path, "a.b.c", offset=offset).status_code == 401
        assert _send(platform, "GET", path, bob_token, offset=offset).status_code == 404
        assert _send(platform, "GET", path, ada_token, offset=offset).status_code == 200
        assert _place(platform, ada, bob_token, offset=offset).status_code == 403


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
    _send(platform, "GET", "/api/orders", token + "x")
    log = platform.log.read_text(errors="replace")
    for secret in (PASSWORD, token, token.rpartition(".")[2], "canary@example.org"):
        assert secret not in log
    events = rows(platform.data, "accounts", "SELECT type, payload FROM messaging.outbox")
    assert {event["type"] for event in events} == {"AccountRegistered"}
    assert all(b"@" not in bytes(event["payload"]) for event in events)
    assert all(json.loads(event["payload"])["roles"] == ["customer"] for event in events)


def test_it_stops_as_every_platform_does(platform: PlatformProcess) -> None:
    """P11: SIGTERM drains, and the exit status is 0."""
    assert platform.stop() == 0

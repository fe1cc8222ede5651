"""Customers and operators of a platform that asks for tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.acceptance.processes import PlatformProcess

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test
AUTH = "/api/v1/auth"
GENEROUS = {
    "WAYBILL_GATEWAY_SUBJECT_REQUESTS_PER_MINUTE": "1000000",
    "WAYBILL_GATEWAY_ADDRESS_REQUESTS_PER_MINUTE": "1000000",
}
"""For tests that wait by asking again and again, which no customer does."""


def register(platform: PlatformProcess, email: str) -> str:
    """A new customer's id."""
    answer = _post(platform, "/register", email)
    assert answer.status_code == 201, answer.text
    account_id: str = answer.json()["id"]
    return account_id


def log_in(platform: PlatformProcess, email: str) -> dict[str, str]:
    """Headers with an access token."""
    answer = _post(platform, "/login", email)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['accessToken']}"}


def sign_in_both(platform: PlatformProcess) -> None:
    """Give the platform's test a customer and an operator."""
    for email in ("customer@example.org", "operator@example.org"):
        register(platform, email)
    told = platform.run("accounts", "roles", "operator@example.org", "operator")
    assert told.returncode == 0, told.stderr
    platform.as_customer = log_in(platform, "customer@example.org")
    platform.as_operator = log_in(platform, "operator@example.org")


def _post(platform: PlatformProcess, path: str, email: str) -> Any:  # noqa: ANN401 - an answer
    body = {"email": email, "password": PASSWORD}
    return platform.client.post(f"{platform.url(0)}{AUTH}{path}", json=body)

"""The HTTP contract of seed 003 (contracts.md 1.2) on the running platform."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from tests.acceptance.database import value
from tests.acceptance.processes import CUSTOMER, KEYBOARD, MOUSE
from tests.acceptance.traffic import at_once

if TYPE_CHECKING:
    from httpx2 import Response
    from tests.acceptance.processes import PlatformProcess

CREATE = r"""
curl -s -X POST http://localhost:8081/api/orders \
  -H "Content-Type: application/json" \
  -H "Idempotency-Key: demo-001" \
  -d '{
    "customerId": "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
    "items": [
      {"productId": "11111111-1111-1111-1111-111111111111", "quantity": 2, "unitPrice": 29.99}
    ],
    "currency": "EUR"
  }'
"""
READ = "curl -s http://localhost:8081/api/orders/{orderId}"
CONCURRENT = 20
MEMBERS = [
    *("id", "customerId", "status", "totalAmount", "currency", "items", "createdAt", "updatedAt")
]
ORDER = {
    "customerId": CUSTOMER,
    "items": [{"productId": MOUSE, "quantity": 1, "unitPrice": 29.99}],
    "currency": "EUR",
}


def curl(platform: PlatformProcess, command: str) -> Response:
    """Do what a documented curl command does, on this platform's ports."""
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    method, headers, body, url = "GET", {}, None, ""
    for word in words:
        match word:
            case "-s":
                pass
            case "-X":
                method = next(words)
            case "-H":
                name, _, text = next(words).partition(": ")
                headers[name] = text
            case "-d":
                body = next(words)
            case _:
                url = word.replace("localhost:808", "127.0.0.1:808")
    port = int(url.split(":")[2].split("/")[0]) - 8080 + platform.port_base
    url = re.sub(r":808\d", f":{port}", url)
    return platform.client.request(method, url, headers=headers, content=body)


def post(platform: PlatformProcess, body: object = None, **headers: str) -> Response:
    """POST an order as JSON with a fresh key unless told otherwise."""
    given = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(ORDER if body is None else body)
    return platform.client.post(f"{platform.url(1)}/api/orders", content=content, headers=given)


def test_every_curl_of_the_documents_works(shared_platform: PlatformProcess) -> None:
    """Contracts 1.2: created, read until CONFIRMED, and repeated with the identical body."""
    first = curl(shared_platform, CREATE)
    assert first.status_code == 201
    created = first.json()
    assert list(created) == MEMBERS
    assert created["status"] == "PENDING"
    assert created["totalAmount"] == 59.98
    assert created["items"] == [{"productId": MOUSE, "quantity": 2, "unitPrice": 29.99}]
    assert shared_platform.ended(created["id"])["status"] == "CONFIRMED"
    shown = curl(shared_platform, READ.replace("{orderId}", created["id"]))
    assert shown.status_code == 200
    volatile = {"status": "CONFIRMED", "updatedAt": shown.json()["updatedAt"]}
    assert shown.json() == created | volatile
    again = curl(shared_platform, CREATE)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


def test_a_key_with_another_payload_is_refused(shared_platform: PlatformProcess) -> None:
    """P5: 409, and the first order stays the only one; equal values are one payload (C5)."""
    key = secrets.token_hex(8)
    first = post(shared_platform, Idempotency_Key=key)
    other = {**ORDER, "items": [{"productId": MOUSE, "quantity": 2, "unitPrice": 29.99}]}
    refused = post(shared_platform, other, Idempotency_Key=key)
    assert refused.status_code == 409
    assert refused.json()["code"] == "idempotency_key_reused"
    same = json.dumps(ORDER).replace("29.99", "29.990").encode()
    assert post(shared_platform, same, Idempotency_Key=key).content == first.content
    count = "SELECT count(*) FROM app.orders WHERE idempotency_key = $1"
    assert value(shared_platform.data, "order", count, key) == 1


def test_concurrent_duplicates_make_one_order(shared_platform: PlatformProcess) -> None:
    """Defect D14: of twenty first requests with one key one is 201, the others 200, never 500."""
    key = secrets.token_hex(8)
    answers = at_once(CONCURRENT, lambda client, _: shared_platform.place(key, client=client))
    assert Counter(a.status_code for a in answers) == {201: 1, 200: CONCURRENT - 1}
    assert len({answer.content for answer in answers}) == 1


def assert_problem(answer: Response, status: int, code: str) -> dict[str, Any]:
    """The error of the documents and of RFC 9457 in one body (C34)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert {"timestamp", "status", "error", "path", "traceId", "type", "title"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    return body


@pytest.mark.parametrize("key", [None, "", '""'])
def test_a_missing_key_is_refused(shared_platform: PlatformProcess, key: str | None) -> None:
    """Contracts 1.2: without a key, or with a blank one, 400."""
    headers = {"Content-Type": "application/json"}
    headers |= {} if key is None else {"Idempotency-Key": key}
    url = f"{shared_platform.url(1)}/api/orders"
    answer = shared_platform.client.post(url, json=ORDER, headers=headers)
    assert_problem(answer, 400, "idempotency_key_missing")


def test_the_body_is_judged_before_the_key(shared_platform: PlatformProcess) -> None:
    """Contracts 1.2: with both wrong the body's error is told."""
    answer = post(shared_platform, {**ORDER, "customerId": None}, Idempotency_Key="")
    assert_problem(answer, 400, "validation_failed")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/xml"}, 415, "unsupported_media_type"),
        ({"Accept": "text/html"}, 406, "not_acceptable"),
    ],
)
def test_other_media_types_are_refused(
    shared_platform: PlatformProcess, headers: dict[str, str], status: int, code: str
) -> None:
    """Contracts 1.2: wrong Content-Type 415, unacceptable Accept 406."""
    assert_problem(post(shared_platform, **headers), status, code)


def test_other_methods_are_refused(shared_platform: PlatformProcess) -> None:
    """Contracts 1.2: 405, with the methods that the address has."""
    answer = shared_platform.client.delete(f"{shared_platform.url(1)}/api/orders")
    assert_problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/orders/d3f1a2b4-1111-4222-8333-444455556666", 404, "order_not_found"),
        ("/api/orders/not-a-uuid", 400, "validation_failed"),
        ("/api/nothing", 404, "not_found"),
        ("/", 404, "not_found"),
    ],
)
def test_what_is_not_there_is_a_problem(
    shared_platform: PlatformProcess, path: str, status: int, code: str
) -> None:
    """Contracts 1.2: unknown id and path 404, an id that is none 400."""
    answer = shared_platform.client.get(shared_platform.url(1) + path)
    assert assert_problem(answer, status, code)["path"] == path


def test_numbers_and_times_are_as_documented(shared_platform: PlatformProcess) -> None:
    """Contracts 1.2: money is a JSON number, a numeric string is taken, times are ISO with Z."""
    line = {"productId": KEYBOARD, "quantity": 3, "unitPrice": "10"}
    body = {"customerId": str(uuid5(NAMESPACE_URL, "numbers")), "items": [line], "extra": [1]}
    answer = post(shared_platform, body)
    assert answer.status_code == 201
    assert re.search(r'"totalAmount":30(\.0+)?,', answer.text)
    shown = answer.json()
    assert shown["currency"] == "EUR"
    for at in (shown["createdAt"], shown["updatedAt"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", at)

"""POST /api/orders: contracts.md 1.2 row by row, its 500 rows as what they ought to be."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.http.edge_memory import CUSTOMER, MOUSE, NOON, Edge, make_edge, order_body

from waybill.messaging.core.errors import (
    DomainConstraintError,
    OutcomeUnknownError,
    OverloadedError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

KEY = {"Idempotency-Key": "demo-001"}
JSON = {"Content-Type": "application/json"}


async def _post(edge: Edge, body: object = None, **headers: str) -> httpx2.Response:
    async with edge.client() as client:
        content = body if isinstance(body, bytes) else json.dumps(body or order_body()).encode()
        sent = {**JSON, **KEY, **{name.replace("_", "-"): v for name, v in headers.items()}}
        return await client.post("/api/orders", content=content, headers=sent)


def _assert_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert response.status_code == status, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["instance"] == problem["path"] == "/api/orders"
    assert problem["timestamp"] == NOON.isoformat(timespec="milliseconds")
    assert len(problem["traceId"]) == 32
    assert {"type", "title", "detail", "error"} <= problem.keys()
    return problem


async def test_a_new_order_is_created() -> None:
    """Contracts 1.2: 201 with the order, its members in the documented order."""
    response = await _post(make_edge())
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in response.headers
    order = response.json()
    assert list(order) == [
        "id",
        "customerId",
        "status",
        "totalAmount",
        "currency",
        "items",
        "createdAt",
        "updatedAt",
    ]
    assert (order["status"], order["currency"]) == ("PENDING", "EUR")
    assert '"totalAmount":59.98,' in response.text
    assert order["items"] == [{"productId": str(MOUSE), "quantity": 2, "unitPrice": 29.99}]


async def test_the_same_key_and_values_give_the_first_answer_again() -> None:
    """P5: replay is 200, byte for byte, and says that it is one; quoted and bare are one key."""
    edge = make_edge()
    first = await _post(edge)
    again = order_body(items=[{"productId": str(MOUSE), "quantity": 2, "unitPrice": "29.990"}])
    for response in (await _post(edge), await _post(edge, again, Idempotency_Key='"demo-001"')):
        assert response.status_code == 200
        assert response.content == first.content
        assert response.headers["idempotent-replayed"] == "true"
    assert len(edge.orders.orders) == 1


async def test_the_same_key_with_other_values_is_a_conflict() -> None:
    """Contracts 1.2: 409, nothing stored, and nothing said about the other order."""
    edge = make_edge()
    first = await _post(edge)
    response = await _post(edge, order_body(currency="USD"))
    _assert_problem(response, 409, "idempotency_key_reused")
    assert first.json()["id"] not in response.text
    assert len(edge.orders.orders) == 1


@pytest.mark.parametrize("key", ["", "   ", '""', '"  "'])
async def test_a_blank_key_is_as_a_missing_one(key: str) -> None:
    """Contracts 1.2: missing or blank is 400."""
    response = await _post(make_edge(), Idempotency_Key=key)
    problem = _assert_problem(response, 400, "idempotency_key_missing")
    assert problem["errors"] == [
        {"detail": "Idempotency-Key header is required", "header": "Idempotency-Key"}
    ]


async def test_a_missing_key_is_refused() -> None:
    """Contracts 1.2: the header is required."""
    async with make_edge().client() as client:
        response = await client.post("/api/orders", json=order_body())
    _assert_problem(response, 400, "idempotency_key_missing")


@pytest.mark.parametrize("key", ["k" * 65, "k" * 300, "schlüssel", '"open', '"a"b"', "a\tb"])
async def test_an_unusable_key_is_refused(key: str) -> None:
    """Defect D14: a key beyond VARCHAR(64) ended as a 500."""
    edge = make_edge()
    async with edge.client() as client:
        response = await client.post(
            "/api/orders",
            json=order_body(),
            headers=[(b"Idempotency-Key", key.encode("latin-1"))],
        )
    _assert_problem(response, 400, "idempotency_key_invalid")
    assert not edge.orders.orders


@pytest.mark.parametrize("key", ["k" * 64, '"' + "k" * 64 + '"', r'"a\"b\\c"', "a b", "~!@#"])
async def test_a_printable_key_of_up_to_64_characters_is_usable(key: str) -> None:
    """The column holds 64 characters; the quotes of a structured field do not count."""
    edge = make_edge()
    assert (await _post(edge, Idempotency_Key=key)).status_code == 201
    assert len(edge.orders.requests[0].key) <= 64


async def test_two_different_keys_are_no_key() -> None:
    """Two headers are ambiguous: neither is chosen."""
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    async with make_edge().client() as client:
        response = await client.post("/api/orders", json=order_body(), headers=headers)
    _assert_problem(response, 400, "idempotency_key_invalid")


async def test_the_body_is_checked_before_the_key() -> None:
    """Contracts 1.2: body validation runs before the header check."""
    async with make_edge().client() as client:
        response = await client.post("/api/orders", content=b"{}", headers=JSON)
    _assert_problem(response, 400, "validation_failed")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"],
)
async def test_what_is_not_json_is_415(content_type: str) -> None:
    """Contracts 1.2: wrong Content-Type."""
    _assert_problem(
        await _post(make_edge(), Content_Type=content_type), 415, "unsupported_media_type"
    )


@pytest.mark.parametrize(
    "content_type",
    ["application/json;charset=UTF-8", "Application/JSON", "application/vnd.order+json"],
)
async def test_what_is_json_by_another_spelling_passes(content_type: str) -> None:
    """RFC 9110: media types are case-insensitive and have parameters."""
    assert (await _post(make_edge(), Content_Type=content_type)).status_code == 201


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0", "a"])
async def test_a_client_that_takes_no_json_is_406_and_nothing_is_stored(accept: str) -> None:
    """Contracts 1.2: unacceptable Accept; decided before the order is placed."""
    edge = make_edge()
    _assert_problem(await _post(edge, Accept=accept), 406, "not_acceptable")
    assert not edge.orders.orders


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/*", "text/html, application/json;q=0.5", "text/html;q=1,*/*;q=0.1"],
)
async def test_a_client_that_takes_json_among_others_is_served(accept: str) -> None:
    """RFC 9110 section 12.5.1: the most specific range decides."""
    assert (await _post(make_edge(), Accept=accept)).status_code == 201


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_another_method_is_405_with_allow(method: str) -> None:
    """RFC 9110: 405 names what the address answers."""
    async with make_edge().client() as client:
        response = await client.request(method, "/api/orders")
    _assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_a_body_over_64_kilobytes_is_413() -> None:
    """API4: by its length, before a byte of it is read."""
    edge = make_edge()
    fits = json.dumps(order_body(note="x" * 65_000)).encode()
    assert (await _post(edge, fits)).status_code == 201
    _assert_problem(await _post(edge, fits + b" " * 1000), 413, "body_too_large")


async def test_a_body_over_64_kilobytes_is_413_also_without_a_length() -> None:
    """API4: chunks are counted as they come."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    async with make_edge().client() as client:
        response = await client.post("/api/orders", content=chunks(), headers={**JSON, **KEY})
    _assert_problem(response, 413, "body_too_large")


async def test_refusals_store_nothing_and_name_the_field() -> None:
    """The whole way through HTTP."""
    edge = make_edge()
    line = {"productId": str(MOUSE), "quantity": 1, "unitPrice": 0.015}
    problem = _assert_problem(await _post(edge, order_body(items=[line])), 400, "validation_failed")
    assert problem["errors"] == [
        {
            "detail": "must have at most 2 digits after the point in EUR",
            "pointer": "#/items/0/unitPrice",
        }
    ]
    assert not edge.orders.orders


@pytest.mark.parametrize(
    ("error", "code", "retry_after"),
    [
        (OverloadedError("queue of 5000 rows", retry_after_seconds=2.2), "overloaded", "3"),
        (TransientError("connection to 10.0.0.1 refused"), "unavailable", "2"),
        (OutcomeUnknownError("COMMIT was lost"), "outcome_unknown", "2"),
    ],
)
async def test_what_may_pass_is_503_with_retry_after(
    error: Exception, code: str, retry_after: str
) -> None:
    """P10, I3: overload, outage and a lost answer are told apart, without their inside."""
    edge = make_edge()
    edge.orders.failure = error
    response = await _post(edge)
    _assert_problem(response, 503, code)
    assert response.headers["retry-after"] == retry_after
    assert str(error) not in response.text


async def test_admission_refuses_before_the_body_is_read() -> None:
    """P10, I5: shedding must cost nothing; reads go on."""
    edge = make_edge()
    edge.orders.refusal = OverloadedError("full")
    received: list[None] = []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        received.append(None)
        return {"type": "http.request", "body": b"", "more_body": True}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/orders",
        "query_string": b"",
        "headers": [],
    }
    await edge.application(scope, receive, send)
    assert sent[0]["status"] == 503
    assert received == []
    async with edge.client() as client:
        assert (await client.get("/api/orders")).status_code == 200


async def test_an_error_of_ours_says_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """API8: no stack trace, no message; the log has it."""
    edge = make_edge()
    edge.orders.failure = DomainConstraintError("orders_total_in_range: row (secret)")
    with caplog.at_level(logging.ERROR):
        response = await _post(edge)
    _assert_problem(response, 500, "internal_error")
    assert "orders_total" not in response.text
    assert "Traceback" not in response.text
    assert "orders_total_in_range" in caplog.text


async def test_a_client_that_went_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """I3: a disconnect inside the body ends quietly, nothing is placed."""
    edge = make_edge()
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/orders",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await edge.application(scope, receive, send)
    assert not edge.orders.orders
    assert not caplog.records
    assert edge.responses.seen == [("POST", "/api/orders", 499)]


async def test_the_intake_gets_values_and_the_trace() -> None:
    """C37, protocol I1: scope, route, key, fingerprint; the trace goes on as text."""
    edge = make_edge()
    incoming = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    response = await _post(edge, traceparent=incoming)
    request = edge.orders.requests[0]
    assert (request.scope, request.route, request.key) == ("", "POST /api/orders", "demo-001")
    assert str(request.customer_id) == CUSTOMER
    assert request.traceparent == incoming
    assert response.headers["traceresponse"] == incoming

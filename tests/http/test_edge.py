"""The edge: what every answer has, whatever its route."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.http.edge_memory import MOUSE, Edge, MemoryOrders, make_edge, order_body

from waybill.commerce.http.trace import accepted_traceparent
from waybill.commerce.orders.request import KeyReused, Placed, PlaceOrder
from waybill.messaging.core.errors import OverloadedError
from waybill.platform.http.limits import HttpLimits
from waybill.platform.service_context import bound_fields

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/products"), ("GET", "/none"), ("POST", "/api/orders"), ("GET", "/metrics")],
)
async def test_every_answer_has_safe_headers(method: str, path: str) -> None:
    """API8: no sniffing, no framing, no caching; CORS off; no server's name."""
    async with make_edge().client() as client:
        response = await client.request(method, path, headers={"Origin": "http://evil"})
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-security-policy"] == (
        "default-src 'none'; frame-ancestors 'none'"
    )
    assert "access-control-allow-origin" not in response.headers
    assert "server" not in response.headers


async def test_head_is_get_without_its_body() -> None:
    """RFC 9110: HEAD has the headers of GET."""
    async with make_edge().client() as client:
        got = await client.get("/api/products")
        head = await client.head("/api/products")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))


async def test_options_tells_what_an_address_answers() -> None:
    """RFC 9110: Allow, nothing of CORS; an unknown address stays 404."""
    async with make_edge().client() as client:
        known = await client.options(f"/api/products/{MOUSE}")
        unknown = await client.options("/none")
    assert (known.status_code, known.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
    assert unknown.status_code == 404


async def test_responses_are_counted_by_template() -> None:
    """Conventions 1.5: labels are bounded: templates and known methods, never a raw path."""
    edge = make_edge()
    async with edge.client() as client:
        await client.get(f"/api/products/{MOUSE}")
        await client.get(f"/api/orders/{MOUSE}")
        await client.get(f"/api/orders/{MOUSE}/timeline")
        await client.get("/info")
        await client.get("/actuator/info")
        await client.get("/none/of/this")
        await client.request("BREW", "/api/orders")
        await client.post("/api/orders", json=order_body(), headers={"Idempotency-Key": "a"})
    assert edge.responses.seen == [
        ("GET", "/api/products/{id}", 200),
        ("GET", "/api/orders/{id}", 404),
        ("GET", "/api/orders/{id}/timeline", 404),
        ("GET", "/info", 200),
        ("GET", "/actuator/info", 200),
        ("GET", "UNKNOWN", 404),
        ("_OTHER", "/api/orders", 405),
        ("POST", "/api/orders", 201),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        VALID.upper(),
        "ff" + VALID[2:],
        VALID + "-extra",
        "00-" + "0" * 32 + VALID[35:],
        VALID[:36] + "0" * 16 + "-01",
    ],
)
def test_an_invalid_trace_context_is_not_taken(value: str) -> None:
    """W3C Trace Context (conventions 1.2): such a context is as none."""
    assert accepted_traceparent(value.encode()) is None


def test_a_later_version_is_read_by_its_beginning() -> None:
    """W3C Trace Context: an unknown higher version's first 55 characters; the sampled bit only."""
    assert accepted_traceparent(b"01" + VALID[2:].encode() + b"-more") == VALID
    assert accepted_traceparent(VALID[:-2].encode() + b"03") == VALID


async def test_a_problem_names_the_callers_trace() -> None:
    """C34: traceId is the caller's if it sent one, else a new one."""
    async with make_edge().client() as client:
        named = await client.get("/none", headers={"traceparent": VALID})
        first = await client.get("/none", headers={"traceparent": "garbage"})
        second = await client.get("/none")
    assert named.json()["traceId"] == VALID[3:35]
    traces = {response.json()["traceId"] for response in (named, first, second)}
    assert len(traces) == 3


async def test_an_active_span_is_the_trace() -> None:
    """Conventions 1.2: with an SDK the request's own span goes into the row, not its parent."""
    edge = make_edge()
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(3))
    with trace.use_span(NonRecordingSpan(context)):
        async with edge.client() as client:
            await client.post(
                "/api/orders",
                json=order_body(),
                headers={"Idempotency-Key": "a", "traceparent": VALID},
            )
    assert edge.orders.requests[0].traceparent == f"00-{0xABC:032x}-{0xDEF:016x}-01"


class LoggingOrders(MemoryOrders):
    """An intake that keeps what its log lines would carry."""

    async def place(self, request: PlaceOrder) -> Placed | KeyReused:
        self.bound = bound_fields()
        return await super().place(request)


@pytest.mark.parametrize(
    ("sent", "logged"),
    [("shop-42", "shop-42"), ("x" * 129, None), ("a\x7fb", None), ("schlüssel", None)],
)
async def test_log_lines_carry_the_trace_and_the_callers_correlation(
    sent: str, logged: str | None
) -> None:
    """X-Correlation-ID is for logs only, and only if it is printable and short."""
    orders = LoggingOrders()
    headers = [
        (b"Idempotency-Key", b"a"),
        (b"X-Correlation-ID", sent.encode("latin-1")),
        (b"traceparent", VALID.encode()),
    ]
    async with make_edge(orders=orders).client() as client:
        await client.post("/api/orders", json=order_body(), headers=headers)
    assert orders.bound.get("correlation_id") == logged
    assert orders.bound["trace_id"] == VALID[3:35]
    assert bound_fields() == {}


class SlowOrders(MemoryOrders):
    """An intake whose answers wait for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.may_answer = asyncio.Event()

    async def place(self, request: PlaceOrder) -> Placed:  # noqa: ARG002 - the port's shape
        self.waiting += 1
        await self.may_answer.wait()
        return Placed(b"{}", replayed=False)


async def _fill(edge: Edge, client: Any, count: int) -> list[asyncio.Task[Any]]:  # noqa: ANN401 - the tests' client
    orders = edge.orders
    assert isinstance(orders, SlowOrders)
    tasks = [
        asyncio.create_task(
            client.post("/api/orders", json=order_body(), headers={"Idempotency-Key": str(number)})
        )
        for number in range(count)
    ]
    async with asyncio.timeout(10):
        while orders.waiting < count:  # noqa: ASYNC110 - the state is a counter of the double
            await asyncio.sleep(0)
    return tasks


async def test_new_orders_are_shed_first_and_health_never() -> None:
    """P10: priorities are health, reads, cancels, new orders; the number at once is bounded."""
    edge = make_edge(orders=SlowOrders(), limits=HttpLimits(in_flight_max=4))
    [order] = await _known_order(edge)
    async with edge.client() as client:
        waiting = await _fill(edge, client, 2)
        refused = await client.post("/api/orders", json=order_body())
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.post(f"/api/orders/{order}/cancel")).status_code == 200
        assert (await client.get(f"/api/orders/{order}")).status_code == 200
        assert (await client.get("/livez")).status_code == 200
        orders = edge.orders
        assert isinstance(orders, SlowOrders)
        orders.may_answer.set()
        assert [(await task).status_code for task in waiting] == [201, 201]
        assert (await client.post("/api/orders", json=order_body())).status_code == 400


async def test_i5_a_closed_brake_refuses_writes_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Protocol I5, promises, overload 3: 503 for whatever writes; reads and health answer."""

    def closed() -> None:
        raise OverloadedError("the disk is full", retry_after_seconds=2)

    edge = make_edge(admit_write=closed)
    [order] = await _known_order(edge)
    async with edge.client() as client:
        for method, path in (
            ("POST", "/api/orders"),
            ("POST", f"/api/orders/{order}/cancel"),
            ("POST", "/api/products"),
            ("PUT", f"/api/products/{MOUSE}"),
        ):
            refused = await client.request(method, path, json=order_body())
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert refused.headers["retry-after"] == "2"
        for path in (f"/api/orders/{order}", "/api/products", "/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
    assert "A request failed" not in caplog.text, "it is refused on purpose"


async def test_a_full_machine_still_answers_health() -> None:
    """P10: liveness under overload, or the orchestrator kills what only needs a moment."""
    edge = make_edge(
        orders=SlowOrders(), limits=HttpLimits(in_flight_max=2, in_flight_share_new=1.0)
    )
    async with edge.client() as client:
        waiting = await _fill(edge, client, 2)
        assert (await client.get("/api/orders")).status_code == 503
        for path in ("/livez", "/readyz", "/actuator/health", "/metrics"):
            assert (await client.get(path)).status_code == 200
        orders = edge.orders
        assert isinstance(orders, SlowOrders)
        orders.may_answer.set()
        await asyncio.gather(*waiting)


async def _known_order(edge: Edge) -> list[str]:
    request = PlaceOrder(
        scope="",
        route="",
        key="known",
        fingerprint="",
        customer_id=MOUSE,
        currency="EUR",
        items=(),
        total_amount=1,  # type: ignore[arg-type]  # never shown
        traceparent="",
    )
    placed = await MemoryOrders.place(edge.orders, request)
    assert isinstance(placed, Placed)
    return [str(order_id) for order_id in edge.orders.orders]

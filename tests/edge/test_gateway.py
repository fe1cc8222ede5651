"""The gateway before services of a test: what passes, what never does, and what outages cost."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.edge.conftest import MovingClock
from tests.edge.forged import FORGED
from tests.edge.issuer import SUBJECT, Issuer, Time
from tests.http.edge_memory import Responses

from waybill.commerce.testing.http_server import Asked, Fault, Reply, TryServer
from waybill.edge.gateway.routes import ROUTES, Access
from waybill.edge.gateway.settings import GatewaySettings
from waybill.edge.limits.ports import Quota
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.gateway import GatewayApplication

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ORDERS = "/api/orders"
MANY = Quota("address", 1_000_000, 60)
IDENTITY = ("x-user-id", "x-user-roles", "x_user_id", "x-forwarded-for", "forwarded", "x-real-ip")


class Service(TryServer):
    """Answers with what reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.next: list[Reply] = []

    def reply(self, asked: Asked) -> Reply:
        if self.next:
            return self.next.pop(0)
        told = {"method": asked.method, "path": asked.path, "body": asked.body.decode()}
        headers = {"Idempotent-Replayed": "true", "traceresponse": "inside", "Connection": "X-Hop"}
        return Reply(201, json.dumps(told).encode(), {**headers, "X-Hop": "1"})


@dataclass
class World:
    """A gateway, its services by name, the issuer it trusts."""

    application: GatewayApplication
    services: dict[str, list[Service]]
    clock: MovingClock
    issuer: Issuer
    observed: Responses = field(default_factory=Responses)

    @property
    def order(self) -> Service:
        return self.services["order"][0]

    @property
    def asked(self) -> list[Asked]:
        return [each for group in self.services.values() for one in group for each in one.asked]

    def client(self, address: str = "10.1.2.3") -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.application, client=(address, 1))
        return httpx2.AsyncClient(transport=transport, base_url="http://shop.example")

    def bearer(self, **claims: Any) -> dict[str, str]:  # noqa: ANN401 - any JSON
        return {"Authorization": f"Bearer {self.issuer.token(**claims).decode()}"}


@asynccontextmanager
async def world(
    *,
    tokens: bool = True,
    instances: int = 1,
    **settings: Any,  # noqa: ANN401 - as they take
) -> AsyncIterator[World]:
    """All four services and the accounts, a gateway before them."""
    names = ("order", "payment", "inventory", "notification", "orchestrator", "accounts")
    async with AsyncExitStack() as stack:
        services = {
            name: [
                await stack.enter_async_context(Service())
                for _ in range(instances if name == "order" else 1)
            ]
            for name in names
        }
        chosen = GatewaySettings(
            upstreams={name: tuple(one.url for one in group) for name, group in services.items()},
            **{"answer_seconds": 30.0, "address": MANY, "subject": MANY, **settings},
        )
        clock = MovingClock()
        issuer = Issuer(time=Time(clock.now()))
        observed = Responses()
        application = GatewayApplication(
            chosen,
            clock=clock,
            random=lambda: 0.0,
            observer=observed,
            verifier=issuer.verifier() if tokens else None,
        )
        await application.open()
        stack.push_async_callback(application.close)
        yield World(application, services, clock, issuer, observed)


async def test_a_request_and_its_answer_pass_as_they_are() -> None:
    """R006: one entry for every service; method, path, query, body, status and headers pass."""
    async with world() as w, w.client() as client:
        answer = await client.post(
            ORDERS + "/a%20b?status=PENDING&x=%26",
            content=b'{"a": 1}',
            headers={**w.bearer(), "Content-Type": "application/json", "Idempotency-Key": "k 1"},
        )
        assert answer.status_code == 201
        assert answer.json() == {
            "method": "POST",
            "path": ORDERS + "/a%20b?status=PENDING&x=%26",
            "body": '{"a": 1}',
        }
        assert answer.headers["idempotent-replayed"] == "true"
        [asked] = w.order.asked
        assert asked.headers["idempotency-key"] == "k 1"
        assert asked.headers["content-type"] == "application/json"
        assert asked.headers["host"] == w.order.url.removeprefix("http://")
        assert asked.headers["x-forwarded-host"] == "shop.example"
        assert asked.headers["x-forwarded-for"] == "10.1.2.3"
    assert w.observed.seen == [("POST", ORDERS, 201)]


async def test_every_route_leads_to_its_service() -> None:
    """The table is what is served: each prefix and everything below it, under the same path."""
    async with world() as w, w.client() as client:
        for route in ROUTES:
            for path in (route.prefix, route.prefix + "/x/y"):
                answer = await client.get(path, headers=w.bearer())
                assert answer.json()["path"] == path
                assert w.services[route.service][0].asked[-1].path == path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/actuator/health",
        "/metrics",
        "/api-docs",
        "/swagger-ui/index.html",
        "/api/ordersx",
        "/api",
        "/api/orders/../../metrics",
        "/api/orders/%2e%2e/%2E%2E/metrics",
        "/api/orders/%2e%2e",
        "//api/orders",
        "/api/orders//x",
        "/api/orders%2f..%2fmetrics",
        "/api/orders/..%5cmetrics",
        "/api/orders/%00",
    ],
)
async def test_nothing_else_can_be_reached(path: str) -> None:
    """API8: neither operations nor documentation, by whatever spelling."""
    async with world() as w, w.client() as client:
        answer = await client.request(
            "GET", httpx2.URL("http://shop.example").copy_with(raw_path=path.encode()),
            headers=w.bearer(),
        )  # fmt: skip
        assert answer.status_code in {400, 404}
        assert answer.headers["content-type"] == "application/problem+json"
        assert not w.asked


async def test_who_calls_is_said_by_the_gateway_alone() -> None:
    """R043: X-USER-ID comes from the token; whatever comes from outside is taken away."""
    claimed = dict.fromkeys(IDENTITY, "somebody-else")
    async with world() as w, w.client() as client:
        await client.get(ORDERS, headers={**claimed, **w.bearer()})
        await client.get("/api/v1/auth/me", headers=claimed)
    [by_token], [anonymous] = w.order.asked, w.services["accounts"][0].asked
    assert by_token.headers["x-user-id"] == SUBJECT
    assert by_token.headers["authorization"].startswith("Bearer ")
    assert "x-user-id" not in anonymous.headers
    for asked in (by_token, anonymous):
        assert "somebody-else" not in asked.headers.values()


async def test_without_an_issuer_nobody_is_asked_and_nobody_is_named() -> None:
    """C23: tokens are one setting; without it a header from outside is still no identity."""
    async with world(tokens=False) as w, w.client() as client:
        assert (await client.get(ORDERS, headers={"X-User-Id": "me"})).status_code == 201
        assert "x-user-id" not in w.order.asked[0].headers


async def test_forged_tokens_open_no_route_and_are_told_nothing() -> None:
    """Security 2: each of them, on every route: 401, one body, and no service hears of it."""
    bodies = set()
    async with world() as w, w.client() as client:
        await client.get(ORDERS, headers=w.bearer())
        heard = len(w.asked)
        for name, _, forge in FORGED:
            token = forge(w.issuer)
            if b"\n" in token:
                continue  # no header can hold it
            for route in ROUTES:
                answer = await client.get(
                    route.prefix, headers={"Authorization": f"Bearer {token.decode()}"}
                )
                assert answer.status_code == 401, (name, route.prefix)
                told = answer.json()
                bodies.add(json.dumps({**told, "traceId": "", "path": "", "instance": ""}))
        for route in ROUTES:
            status = (await client.get(route.prefix)).status_code
            assert status == (401 if route.access is Access.TOKEN else 201), route.prefix
        public = sum(route.access is Access.PUBLIC for route in ROUTES)
        assert len(w.asked) == heard + public
    assert len(bodies) == 1


async def test_what_belongs_to_one_connection_stays_there() -> None:
    """RFC 9110 7.6.1: hop-by-hop headers, and those that Connection names, in both directions."""
    async with world() as w, w.client() as client:
        answer = await client.get(
            ORDERS,
            headers={
                **w.bearer(),
                "Connection": "keep-alive, X-Secret-Hop",
                "X-Secret-Hop": "1",
                "TE": "trailers",
                "Upgrade": "h2c",
                "Proxy-Authorization": "Basic YTpi",
            },
        )
        gone = {"x-secret-hop", "te", "upgrade", "proxy-authorization", "keep-alive"}
        assert not gone & w.order.asked[0].headers.keys()
        assert "x-hop" not in answer.headers


async def test_correlation_and_trace_are_made_here_and_go_all_the_way() -> None:
    """Created here; a client's own are taken if they are well-formed."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with world() as w, w.client() as client:
        given = await client.get(
            ORDERS, headers={**w.bearer(), "X-Correlation-ID": "cart-7", "traceparent": trace}
        )
        made = await client.get(
            ORDERS, headers={**w.bearer(), "X-Correlation-ID": "a b", "traceparent": "junk"}
        )
        first, second = w.order.asked
        assert first.headers["x-correlation-id"] == given.headers["x-correlation-id"] == "cart-7"
        assert first.headers["traceparent"] == trace
        assert given.headers.get_list("traceresponse") == [trace]
        assert second.headers["x-correlation-id"] == made.headers["x-correlation-id"] != "a b"
        assert made.headers["traceresponse"] == second.headers["traceparent"] != "junk"
        refused = await client.get("/nowhere", headers={"X-Correlation-ID": "cart-8"})
        assert refused.headers["x-correlation-id"] == "cart-8"


async def test_a_subject_has_a_quota_and_no_other_pays_for_it() -> None:
    """R008: N + 1 requests: 429 with Retry-After; the headers say what is left."""
    async with world(subject=Quota("subject", 3, 60)) as w, w.client() as client:
        for left in (2, 1, 0):
            answer = await client.get(ORDERS, headers=w.bearer())
            assert answer.headers["ratelimit-policy"] == '"subject";q=3;w=60'
            assert answer.headers["ratelimit"] == f'"subject";r={left};t={20 * (3 - left)}'
        refused = await client.get(ORDERS, headers=w.bearer(jti="another token of theirs"))
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert refused.headers.get_list("ratelimit") == ['"subject";r=0;t=60']
        assert refused.headers["retry-after"] == "20"
        assert len(w.order.asked) == 3
        other = await client.get(ORDERS, headers=w.bearer(sub="bbbbbbbb"))
        assert other.status_code == 201
        w.clock.instant += timedelta(seconds=20)
        assert (await client.get(ORDERS, headers=w.bearer())).status_code == 201


async def test_an_address_has_a_quota_also_for_forged_tokens() -> None:
    """Security: who guesses tokens is stopped by address, and another address is not."""
    async with world(address=Quota("address", 2, 60)) as w:
        async with w.client("10.0.0.1") as client:
            for status in (401, 401, 429):
                answer = await client.get(ORDERS, headers={"Authorization": "Bearer a.b.c"})
                assert answer.status_code == status
            spoofed = {"X-Forwarded-For": "10.9.9.9"}
            assert (await client.get(ORDERS, headers=spoofed)).status_code == 429
        async with w.client("10.0.0.2") as client:
            assert (await client.get(ORDERS, headers=w.bearer())).status_code == 201


async def test_a_body_is_bounded() -> None:
    """API4: 413, with a length and without one; nothing reaches the service."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    async with world(request_bytes_max=1_000) as w, w.client() as client:
        for content in (b"x" * 1_001, endless()):
            answer = await client.post(ORDERS, content=content, headers=w.bearer())
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert not w.asked
        fits = await client.post(ORDERS, content=b"x" * 1_000, headers=w.bearer())
        assert fits.status_code == 201


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.HANG_AFTER_WORK, 504, "service_timeout"),
        (Fault.DROP_AFTER_WORK, 502, "service_failed"),
    ],
)
async def test_an_answer_that_is_lost_is_told_as_unknown(
    fault: Fault, status: int, code: str
) -> None:
    """M6's rule at the edge: a POST is never sent twice, and never said not to have happened."""
    async with world(answer_seconds=0.3) as w, w.client() as client:
        w.order.faults.append(fault)
        answer = await client.post(ORDERS, content=b"{}", headers=w.bearer())
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "may or may not" in answer.json()["detail"]
        assert len(w.order.asked) == 1


async def test_a_service_that_is_not_there_is_503() -> None:
    """Nothing was done: said so, with Retry-After, and other services go on."""
    async with world() as w, w.client() as client:
        await w.order.stop()
        answer = await client.post(ORDERS, content=b"{}", headers=w.bearer())
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await client.get("/api/products", headers=w.bearer())).status_code == 201


async def test_instances_share_the_requests_and_a_dead_one_costs_none() -> None:
    """R009: two instances; one is stopped: every request is answered by the other."""
    async with world(instances=2) as w, w.client() as client:
        for _ in range(10):
            assert (await client.get(ORDERS, headers=w.bearer())).status_code == 201
        first, second = w.services["order"]
        assert (len(first.asked), len(second.asked)) == (5, 5)
        await first.stop()
        for method in ["GET"] * 4 + ["POST"] * 36:  # a read finds the old connection's end
            answer = await client.request(method, ORDERS, headers=w.bearer())
            assert answer.status_code == 201
        assert len(second.asked) == 45


@pytest.mark.parametrize(
    ("method", "path", "headers", "lost"),
    [
        ("GET", ORDERS, {}, 0),
        ("PUT", "/api/orders/1", {}, 0),
        ("POST", ORDERS, {"Idempotency-Key": "k-1"}, 0),
        ("POST", ORDERS, {}, 1),
        ("POST", f"{ORDERS}/1/cancel", {}, 1),
    ],
)
async def test_a_lost_answer_is_asked_for_elsewhere_if_twice_does_what_once_does(
    method: str, path: str, headers: dict[str, str], lost: int
) -> None:
    """Idempotent methods, and POST of an order with a key; others are told that nobody knows."""
    async with world(instances=2) as w, w.client() as client:
        w.order.faults.extend([Fault.DROP_AFTER_WORK] * 2)  # aiohttp repeats a GET by itself once
        answers = [
            await client.request(method, path, headers={**w.bearer(), **headers}, content=b"{}")
            for _ in range(2)  # in turn: one of them begins at the instance that drops
        ]
        assert [answer.status_code for answer in answers].count(502) == lost
        assert len(w.order.asked) > 0


async def test_a_keyed_post_whose_answer_nobody_has_is_unknown() -> None:
    """Lost by one instance, not taken by the other: it may have happened, and 503 would deny it."""
    keyed = {"Idempotency-Key": "k-1"}
    async with world(instances=2) as w, w.client() as client:
        first, second = w.services["order"]
        await second.stop()
        for _ in range(2):  # whichever of them is asked first
            first.faults.append(Fault.DROP_AFTER_WORK)
            answer = await client.post(ORDERS, content=b"{}", headers={**w.bearer(), **keyed})
            assert (answer.status_code, answer.json()["code"]) == (502, "service_failed")


async def test_an_instance_that_fails_is_left_alone_until_it_is_well() -> None:
    """Breaker per upstream: after ten lost answers no more are waited for; later it is tried."""
    async with world() as w, w.client() as client:
        w.order.faults.extend([Fault.DROP_AFTER_WORK] * 10)
        for _ in range(10):
            assert (await client.get(ORDERS, headers=w.bearer())).status_code in {201, 502}
        while w.order.faults:
            await client.post(ORDERS, content=b"{}", headers=w.bearer())
        heard = len(w.order.asked)
        answer = await client.get(ORDERS, headers=w.bearer())
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert len(w.order.asked) == heard
        w.clock.instant += timedelta(seconds=6)
        assert (await client.get(ORDERS, headers=w.bearer())).status_code == 201


async def test_answers_are_not_unpacked_and_redirects_not_followed() -> None:
    """API7: the gateway calls no address that an answer names; bytes pass as they are."""
    packed = gzip.compress(b'{"status": "PENDING"}')
    async with world() as w, w.client() as client:
        w.order.next.append(Reply(200, packed, {"Content-Encoding": "gzip"}))
        answer = await client.get(ORDERS, headers=w.bearer())
        assert answer.json() == {"status": "PENDING"}
        assert answer.headers["content-length"] == str(len(packed))
        w.order.faults.append(Fault.REDIRECT)
        moved = await client.get(ORDERS, headers=w.bearer())
        assert moved.status_code == 307
        assert len(w.order.asked) == 2


async def test_browsers_may_call_from_named_origins_only() -> None:
    """CORS is off by default, and never for every page."""
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    async with world() as w, w.client() as client:
        answer = await client.options(ORDERS, headers={**asked, **w.bearer()})
        assert "access-control-allow-origin" not in answer.headers
    async with world(cors_origins=("https://shop.example",)) as w, w.client() as client:
        answer = await client.options(ORDERS, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-credentials" not in answer.headers
        got = await client.get(ORDERS, headers={**w.bearer(), "Origin": "https://shop.example"})
        assert "RateLimit" in got.headers["access-control-expose-headers"]
        evil = {**asked, "Origin": "https://evil.example"}
        assert (
            "access-control-allow-origin"
            not in (await client.options(ORDERS, headers=evil)).headers
        )
    with pytest.raises(ConfigurationError):
        GatewaySettings(upstreams={}, cors_origins=("*",))


async def test_its_health_is_its_own() -> None:
    """A service that is down does not restart a gateway; one that drains is not ready."""
    async with world() as w, w.client() as client:
        await w.order.stop()
        for path in ("/livez", "/readyz"):
            assert (await client.get(path)).json() == {"status": "UP"}
        w.application.health.draining = True
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200


async def test_an_issuer_that_is_away_is_503_not_401() -> None:
    """Security 2: unknown is neither yes nor no."""
    from waybill.messaging.core.errors import TransientError  # noqa: PLC0415 - one use

    async with world() as w, w.client() as client:
        w.issuer.failure = TransientError("away")
        answer = await client.get(ORDERS, headers=w.bearer())
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert not w.asked


async def test_a_client_that_goes_is_not_held_against_an_instance() -> None:
    """A cancelled request frees its place and counts neither way."""
    async with world(answer_seconds=5.0) as w, w.client() as client:
        w.order.faults.append(Fault.HANG_BEFORE_WORK)
        going = asyncio.create_task(client.get(ORDERS, headers=w.bearer()))
        while not w.order.asked:  # noqa: ASYNC110 - it hangs before it could tell
            await asyncio.sleep(0)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        upstream = w.application.upstreams["order"]
        lease = upstream.lease()
        assert lease is not None
        assert lease.instance.in_flight == 1
        assert lease.instance.breaker.calls["failed"] == 0

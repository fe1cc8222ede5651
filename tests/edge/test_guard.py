"""What a service asks of a caller once tokens are on: by itself, whoever stands before it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter
from tests.edge.forged import FORGED
from tests.edge.issuer import SUBJECT, Issuer
from tests.http.edge_memory import CUSTOMER, MOUSE, make_edge, order_body

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.commerce.http.caller import Caller
from waybill.commerce.http.surface import Surface
from waybill.edge.accounts import api as accounts_api
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.http.guard import Guard, operations_of, without_policy
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    import httpx2
    from tests.http.edge_memory import Edge

OTHER = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
NOBODY = "99999999-9999-4999-8999-999999999999"
NOTHING: Any = None
ROUTES = [
    ("POST", "/api/orders"),
    ("GET", "/api/orders"),
    ("GET", f"/api/orders/{NOBODY}"),
    ("HEAD", f"/api/orders/{NOBODY}"),
    ("GET", f"/api/orders/{NOBODY}/timeline"),
    ("POST", f"/api/orders/{NOBODY}/cancel"),
    ("GET", "/api/products"),
    ("GET", f"/api/products/{MOUSE}"),
    ("POST", "/api/products"),
    ("PUT", f"/api/products/{MOUSE}"),
    ("GET", f"/api/payments?orderId={NOBODY}"),
    ("GET", f"/api/notifications?orderId={NOBODY}"),
    ("PUT", f"/api/v1/contacts/{SUBJECT}"),
    ("GET", f"/api/v1/contacts/{SUBJECT}"),
    ("DELETE", f"/api/v1/contacts/{SUBJECT}"),
]
OPERATORS_ONLY = {"/api/payments", "/api/notifications"}


def _guarded(edge: Edge | None = None) -> tuple[Edge, Issuer]:
    issuer = Issuer()
    orders = edge.orders if edge is not None else None
    return make_edge(verifier=issuer.verifier(), orders=orders), issuer


def _bearer(issuer: Issuer, subject: str = SUBJECT, *roles: str) -> dict[str, str]:
    token = issuer.token(sub=subject, roles=list(roles or ("customer",)))
    return {"Authorization": f"Bearer {token.decode()}"}


async def _place(
    client: httpx2.AsyncClient, headers: dict[str, str], customer: str = SUBJECT, key: str = "k"
) -> httpx2.Response:
    body = order_body(customerId=customer)
    return await client.post("/api/orders", json=body, headers={**headers, "Idempotency-Key": key})


def _told(answer: httpx2.Response) -> dict[str, Any]:
    return {**answer.json(), "traceId": "", "path": "", "instance": ""}


@pytest.mark.parametrize("blueprint", BLUEPRINTS.values(), ids=lambda each: each.name)
def test_every_route_of_every_blueprint_has_a_policy(blueprint: Any) -> None:  # noqa: ANN401
    """API5: deny by default; a new route says who may call it before it can be served."""
    surfaces = [plan.surface(blueprint) for plan in plans_of(blueprint).values()]
    surfaces.append(accounts_api.surface(book=NOTHING, verifier=NOTHING, issuer="https://us"))
    assert [route for surface in surfaces for route in without_policy(surface)] == []


def test_a_route_without_a_policy_fails_at_start_up() -> None:
    """It is no matter of what a request finds."""
    router = APIRouter()
    router.add_api_route("/api/forgotten", lambda: None, operation_id="forgotten")
    with pytest.raises(ConfigurationError, match="/api/forgotten"):
        Guard(Surface(routes=router.routes), Issuer().verifier())


async def test_no_token_opens_no_route_and_forged_ones_are_told_nothing() -> None:
    """Security 2: services verify themselves; every forged token, every route, one body."""
    edge, issuer = _guarded()
    bodies = set()
    async with edge.client() as client:
        tokens = [forge(issuer) for _, _, forge in FORGED]
        for token in [None, *(token for token in tokens if b"\n" not in token)]:
            headers = {"Authorization": f"Bearer {token.decode()}"} if token is not None else {}
            headers["X-User-Id"] = SUBJECT
            for method, path in ROUTES:
                answer = await client.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path, token)
                if method != "HEAD":
                    bodies.add(json.dumps(_told(answer)))
    assert len(bodies) == 1
    assert edge.orders.orders == {}
    assert list(edge.products.by_id) == [MOUSE]


async def test_operators_routes_need_their_role() -> None:
    """API5: a customer gets 403; an operator and an admin pass."""
    edge, issuer = _guarded()
    product = {"name": "Webcam", "stock": 7}
    async with edge.client() as client:
        for path in (f"{each}?orderId={NOBODY}" for each in sorted(OPERATORS_ONLY)):
            refused = await client.get(path, headers=_bearer(issuer))
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "insufficient_scope" in refused.headers["www-authenticate"]
            for role in ("operator", "admin"):
                answer = await client.get(path, headers=_bearer(issuer, SUBJECT, role))
                assert answer.status_code == 200
        refused = await client.post("/api/products", json=product, headers=_bearer(issuer))
        assert refused.status_code == 403
        nothing = await client.post(
            "/api/products", json=product, headers=_bearer(issuer, SUBJECT, "nobody-knows")
        )
        assert nothing.status_code == 403
        assert list(edge.products.by_id) == [MOUSE]
        made = await client.post(
            "/api/products", json=product, headers=_bearer(issuer, SUBJECT, "operator")
        )
        assert made.status_code == 201


async def test_an_address_is_for_its_customer_and_operators() -> None:
    """API1: whose contact it is stands in the path, and the token must say the same."""
    edge, issuer = _guarded()
    path, body = f"/api/v1/contacts/{SUBJECT}", {"email": "ada@example.org"}
    async with edge.client() as client:
        for headers, status in (
            (_bearer(issuer, OTHER), 403),
            (_bearer(issuer), 200),
            (_bearer(issuer, OTHER, "operator"), 200),
        ):
            assert (await client.put(path, json=body, headers=headers)).status_code == status
            assert (await client.get(path, headers=headers)).status_code == status
        spelt = f"/api/v1/contacts/{SUBJECT.replace('a', '%61')}"
        assert (await client.get(spelt, headers=_bearer(issuer, OTHER))).status_code == 403
        for headers, status in ((_bearer(issuer, OTHER), 403), (_bearer(issuer), 204)):
            assert (await client.delete(path, headers=headers)).status_code == status


async def test_operations_ask_for_no_token() -> None:
    """Probes and scrapers have none; what is no route is 404 or 405 as ever."""
    edge, issuer = _guarded()
    async with edge.client() as client:
        for path in ("/livez", "/readyz", "/actuator/health", "/metrics", "/api-docs"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/api/nothing")).status_code == 404
        assert (await client.delete("/api/orders", headers=_bearer(issuer))).status_code == 405
        document = (await client.get("/api-docs")).json()
    operation = document["paths"]["/api/orders"]["post"]
    assert {"401", "403"} <= operation["responses"].keys()
    assert operation["security"] == [{"bearer": []}]


async def test_a_customer_sees_only_their_own_orders() -> None:
    """API1: another's order and one that never was are the same 404, on every route."""
    edge, issuer = _guarded()
    mine, theirs = _bearer(issuer), _bearer(issuer, OTHER)
    async with edge.client() as client:
        order_id = (await _place(client, mine)).json()["id"]
        requests = [("GET", ""), ("GET", "/timeline"), ("POST", "/cancel")]
        for method, below in requests:
            path = f"/api/orders/{order_id}{below}"
            refused = await client.request(method, path, headers=theirs)
            unknown = await client.request(method, f"/api/orders/{NOBODY}{below}", headers=theirs)
            assert (refused.status_code, _told(refused)) == (404, _told(unknown))
        for headers, seen in ((mine, [order_id]), (theirs, [])):
            listed = (await client.get("/api/orders", headers=headers)).json()["items"]
            assert [order["id"] for order in listed] == seen
        spied = await client.get(f"/api/orders?customerId={SUBJECT}", headers=theirs)
        assert spied.json() == {"items": [], "nextCursor": None}
        for method, below in requests:
            path = f"/api/orders/{order_id}{below}"
            for headers in (_bearer(issuer, OTHER, "operator"), mine):
                assert (await client.request(method, path, headers=headers)).status_code == 200


async def test_an_order_is_placed_for_oneself_only() -> None:
    """C37: the body's customer is the token's subject, else 403; operators place for others."""
    edge, issuer = _guarded()
    async with edge.client() as client:
        refused = await _place(client, _bearer(issuer), customer=OTHER)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_the_caller")
        assert edge.orders.orders == {}
        for roles in ("customer", "admin"):
            answer = await _place(client, _bearer(issuer, SUBJECT, roles), key=roles)
            assert answer.status_code == 201
        theirs = await _place(client, _bearer(issuer, SUBJECT, "operator"), customer=OTHER)
        assert (theirs.status_code, theirs.json()["customerId"]) == (201, OTHER)


async def test_a_key_belongs_to_its_caller() -> None:
    """P5, B42: another caller's key is another key; one's own is replayed."""
    edge, issuer = _guarded()
    async with edge.client() as client:
        first = await _place(client, _bearer(issuer))
        other = await _place(client, _bearer(issuer, OTHER), customer=OTHER)
        again = await _place(client, _bearer(issuer))
    assert (first.status_code, other.status_code, again.status_code) == (201, 201, 200)
    assert again.content == first.content != other.content
    assert [request.scope for request in edge.orders.requests] == [SUBJECT, OTHER]


async def test_turning_tokens_on_finds_the_keys_that_were_used_before() -> None:
    """No second order for an old retry; another payload or customer is a new one."""
    before = make_edge()
    async with before.client() as client:
        placed = await _place(client, {}, customer=SUBJECT)
    edge, issuer = _guarded(before)
    async with edge.client() as client:
        again = await _place(client, _bearer(issuer))
        assert (again.status_code, again.content) == (200, placed.content)
        assert again.headers["idempotent-replayed"] == "true"
        other = await _place(client, _bearer(issuer, OTHER), customer=OTHER)
        assert other.status_code == 201
    assert len(edge.orders.orders) == 2


def test_a_subject_that_is_no_uuid_is_one_customer_all_the_same() -> None:
    """A foreign issuer's subjects are any text; the same one is always the same customer."""
    first, second = (Caller(subject, frozenset(), 0.0) for subject in ("auth0|1", "auth0|2"))
    assert first.customer_id == Caller("auth0|1", frozenset(), 1.0).customer_id
    assert first.customer_id != second.customer_id
    assert str(Caller(SUBJECT, frozenset(), 0.0).customer_id) == SUBJECT


def test_the_routes_above_are_all_that_there_are() -> None:
    """A route that is added to the default blueprint is added here."""
    choreography = BLUEPRINTS["choreography"]
    served = {
        (
            method,
            path.replace("{id}", NOBODY)
            .replace(f"products/{NOBODY}", f"products/{MOUSE}")
            .replace("{userId}", SUBJECT),
        )
        for plan in plans_of(choreography).values()
        for path, methods, _ in operations_of(plan.surface(choreography))
        for method in methods
    }
    tried = {(method, path.partition("?")[0]) for method, path in ROUTES}
    assert served <= tried
    assert CUSTOMER != SUBJECT

"""What users read and change besides placing orders: lists, timeline, cancel, products, books."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.http.edge_memory import CUSTOMER, MOUSE, Edge, make_edge, order_body

from waybill.commerce.http.paging import encode_cursor
from waybill.messaging.core.errors import TransientError

NOBODY = "99999999-9999-4999-8999-999999999999"


async def _place(edge: Edge, count: int, **changes: object) -> list[str]:
    ids = []
    async with edge.client() as client:
        for _ in range(count):
            key = f"key-{len(edge.orders.orders)}"
            response = await client.post(
                "/api/orders", json=order_body(**changes), headers={"Idempotency-Key": key}
            )
            ids.append(response.json()["id"])
    return ids


async def test_an_order_is_shown_as_it_stands() -> None:
    """Contracts 1.2: GET /api/orders/{id}."""
    edge = make_edge()
    [order_id] = await _place(edge, 1)
    async with edge.client() as client:
        response = await client.get(f"/api/orders/{order_id}")
        assert (response.status_code, response.json()["id"]) == (200, order_id)


async def test_an_id_may_be_spelt_as_for_every_other_route() -> None:
    """The hot route reads ids as FastAPI's routes do: capitals, urn:uuid:, braces, no hyphens."""
    edge = make_edge()
    [order_id] = await _place(edge, 1)
    async with edge.client() as client:
        spellings = (order_id.upper(), order_id.replace("-", ""), f"urn:uuid:{order_id}")
        for spelling in (*spellings, f"{{{order_id}}}"):
            for path in (spelling, f"{spelling}/timeline"):
                assert (await client.get(f"/api/orders/{path}")).status_code == 200, path
        for path in ("7", "7/timeline"):
            problem = (await client.get(f"/api/orders/{path}")).json()
            assert problem["errors"] == [
                {"detail": "Input should be a valid UUID", "parameter": "id"}
            ]


async def test_a_read_that_cannot_be_served_now_is_503_and_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """I3: an outage is answered, with Retry-After; it does not fill the log."""
    edge = make_edge()
    [order_id] = await _place(edge, 1)
    edge.orders.failure = TransientError("the database is down")
    async with edge.client() as client:
        for path in ("", "/timeline"):
            answer = await client.get(f"/api/orders/{order_id}{path}")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/api/orders/{NOBODY}", 404, "order_not_found"),
        ("GET", f"/api/orders/{NOBODY}/timeline", 404, "order_not_found"),
        ("POST", f"/api/orders/{NOBODY}/cancel", 404, "order_not_found"),
        ("GET", "/api/orders/7", 400, "validation_failed"),
        ("GET", "/api/orders/%00", 400, "validation_failed"),
        ("GET", "/api/orders/7/timeline", 400, "validation_failed"),
        ("POST", "/api/orders/7/cancel", 400, "validation_failed"),
        ("GET", f"/api/products/{NOBODY}", 404, "product_not_found"),
        ("GET", "/api/products/7", 400, "validation_failed"),
        ("GET", "/api/orders?limit=0", 400, "validation_failed"),
        ("GET", "/api/orders?limit=101", 400, "validation_failed"),
        ("GET", "/api/orders?limit=ten", 400, "validation_failed"),
        ("GET", "/api/orders?status=LOST", 400, "validation_failed"),
        ("GET", "/api/orders?customerId=7", 400, "validation_failed"),
        ("GET", "/api/orders?custmerId=" + NOBODY, 400, "validation_failed"),
        ("GET", "/api/orders?cursor=x", 400, "validation_failed"),
        ("GET", "/api/orders?cursor=%E2%82%AC", 400, "validation_failed"),
        ("GET", "/api/orders?cursor=" + "x" * 65, 400, "validation_failed"),
        ("GET", "/api/payments", 400, "validation_failed"),
        ("GET", "/api/payments?orderId=7", 400, "validation_failed"),
        ("GET", "/api/notifications", 400, "validation_failed"),
        ("GET", "/api", 404, "not_found"),
        ("GET", "/api/orders/", 404, "not_found"),
        ("GET", "//api/orders", 404, "not_found"),
        ("DELETE", f"/api/orders/{NOBODY}", 405, "method_not_allowed"),
        ("GET", f"/api/orders/{NOBODY}/cancel", 405, "method_not_allowed"),
    ],
)
async def test_every_refusal_is_a_problem(method: str, path: str, status: int, code: str) -> None:
    """C34: one shape for all errors, in every corner."""
    async with make_edge().client() as client:
        response = await client.request(method, path)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert (status == 405) == ("allow" in response.headers)


async def test_every_resource_is_json_or_406() -> None:
    """Contracts 1.2: an unacceptable Accept is 406, on reads too; a browser's is acceptable."""
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    async with make_edge().client() as client:
        for path in ("/api/products", f"/api/orders/{NOBODY}", "/api/orders"):
            refused = await client.get(path, headers={"Accept": "text/html"})
            assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
        shown = await client.get("/api/products", headers={"Accept": browser})
        assert shown.status_code == 200
        health = await client.get("/livez", headers={"Accept": "text/html"})
        assert health.status_code == 200


async def test_pages_follow_one_another_to_the_end() -> None:
    """API4: pages of at most 100 with an opaque cursor; every order once, newest first."""
    edge = make_edge()
    placed = await _place(edge, 5)
    seen: list[str] = []
    path: str | None = f"/api/orders?limit=2&customerId={CUSTOMER}"
    pages = 0
    async with edge.client() as client:
        while path is not None:
            response = await client.get(path)
            page = response.json()
            seen += [order["id"] for order in page["items"]]
            pages += 1
            link = response.headers.get("link")
            assert (page["nextCursor"] is None) == (link is None)
            path = link.removeprefix("<").removesuffix('>; rel="next"') if link else None
            assert path is None or f"customerId={CUSTOMER}" in path
    assert seen == placed[::-1]
    assert pages == 3


async def test_the_list_is_filtered_by_customer_and_status() -> None:
    """Cursor pages, by customer and status."""
    edge = make_edge()
    await _place(edge, 1)
    [other] = await _place(edge, 1, customerId=NOBODY)
    async with edge.client() as client:
        by_customer = (await client.get(f"/api/orders?customerId={NOBODY}")).json()
        by_status = (await client.get("/api/orders?status=CONFIRMED")).json()
    assert [order["id"] for order in by_customer["items"]] == [other]
    assert by_status == {"items": [], "nextCursor": None}


async def test_the_timeline_begins_with_the_order() -> None:
    """GET /api/orders/{id}/timeline."""
    edge = make_edge()
    [order_id] = await _place(edge, 1)
    async with edge.client() as client:
        timeline = (await client.get(f"/api/orders/{order_id}/timeline")).json()
    assert timeline["orderId"] == order_id
    assert timeline["entries"][0]["toStatus"] == "PENDING"
    assert timeline["entries"][0]["fromStatus"] is None


async def test_a_cancel_may_be_repeated_until_the_order_is_confirmed() -> None:
    """C33: 200 with the order, again 200; after CONFIRMED 409."""
    edge = make_edge()
    [order_id] = await _place(edge, 1)
    path = f"/api/orders/{order_id}/cancel"
    async with edge.client() as client:
        for _ in range(2):
            response = await client.post(path)
            assert (response.status_code, response.json()["id"]) == (200, order_id)
        edge.orders.confirm(UUID(order_id))
        response = await client.post(path)
    assert (response.status_code, response.json()["code"]) == (409, "order_not_cancellable")


async def test_a_read_during_an_outage_is_503() -> None:
    """A database that goes down later is 503 with Retry-After."""
    edge = make_edge()
    edge.orders.failure = TransientError("down")
    async with edge.client() as client:
        response = await client.get(f"/api/orders/{NOBODY}")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


async def test_a_product_is_made_shown_and_changed() -> None:
    """POST (201 with Location), GET, PUT of name and stock."""
    async with make_edge().client() as client:
        made = await client.post("/api/products", json={"name": "Webcam", "stock": 7})
        assert made.status_code == 201
        path = made.headers["location"]
        shown = (await client.get(path)).json()
        assert shown == {"id": made.json()["id"], "name": "Webcam", "stock": 7, "reserved": 0}
        changed = await client.put(path, json={"name": "Webcam 2", "stock": 0})
        assert (changed.status_code, changed.json()["stock"]) == (200, 0)
        first = (await client.get("/api/products?limit=1")).json()
        assert [product["id"] for product in first["items"]] == [made.json()["id"]]
        assert first["nextCursor"] == encode_cursor(UUID(made.json()["id"]))
        rest = (await client.get(f"/api/products?cursor={first['nextCursor']}")).json()
        assert [product["id"] for product in rest["items"]] == [str(MOUSE)]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x", "stock": -1}, "#/stock"),
        ({"name": "x", "stock": 1_000_000_001}, "#/stock"),
        ({"name": "x", "stock": 1.5}, "#/stock"),
        ({"name": "x", "stock": "1"}, "#/stock"),
        ({"name": "x", "stock": True}, "#/stock"),
        ({"name": "x"}, "#/stock"),
        ({"name": "", "stock": 1}, "#/name"),
        ({"name": "  ", "stock": 1}, "#/name"),
        ({"name": "x" * 256, "stock": 1}, "#/name"),
        ({"name": "a\0b", "stock": 1}, "#/name"),
        ({"name": "x", "stock": 1, "price": 2}, "#/price"),
        ([], "#"),
    ],
)
async def test_a_bad_product_is_refused_with_its_place(body: object, pointer: str) -> None:
    """C35: our own endpoints read exact types and forbid unknown members."""
    edge = make_edge()
    async with edge.client() as client:
        for response in (
            await client.post("/api/products", json=body),
            await client.put(f"/api/products/{MOUSE}", json=body),
        ):
            problem = response.json()
            assert response.status_code == 400, problem
            assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert len(edge.products.by_id) == 1


async def test_a_product_can_bring_its_id_once() -> None:
    """A chosen id makes creation safe to repeat: the second time it is 409."""
    body = {"id": NOBODY, "name": "Webcam", "stock": 1}
    async with make_edge().client() as client:
        assert (await client.post("/api/products", json=body)).status_code == 201
        again = await client.post("/api/products", json=body)
        unknown = await client.put("/api/products/" + NOBODY[::-1], json={"name": "x", "stock": 1})
        form = await client.post("/api/products", data={"name": "x"})
    assert (again.status_code, again.json()["code"]) == (409, "product_exists")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "validation_failed")
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media_type")


async def test_the_books_of_an_order_are_shown() -> None:
    """GET /api/payments?orderId= and /api/notifications?orderId=."""
    async with make_edge().client() as client:
        payments = (await client.get(f"/api/payments?orderId={NOBODY}")).json()
        notifications = (await client.get(f"/api/notifications?orderId={NOBODY}")).json()
    assert payments["items"][0]["orderId"] == NOBODY
    assert notifications["items"][0]["eventType"] == "OrderConfirmed"


async def test_a_contact_is_put_shown_and_erased() -> None:
    """C38: PUT /api/v1/contacts/{userId}; erasing may be repeated."""
    async with make_edge().client() as client:
        put = await client.put("/api/v1/contacts/usr_001", json={"email": "ana@shop.example"})
        shown = await client.get("/api/v1/contacts/usr_001")
        erased = [await client.delete("/api/v1/contacts/usr_001") for _ in range(2)]
        gone = await client.get("/api/v1/contacts/usr_001")
    assert put.json() == shown.json()
    assert put.json()["email"] == "ana@shop.example"
    assert [(each.status_code, each.content) for each in erased] == [(204, b"")] * 2
    assert (gone.status_code, gone.json()["code"]) == (404, "contact_not_found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"email": "ana"}, "#/email"),
        ({"email": "a@b"}, "#/email"),
        ({"email": "a@shop.example\n"}, "#/email"),
        ({"email": "a b@shop.example"}, "#/email"),
        ({"email": "a@shop.example\r\nBcc: x@shop.example"}, "#/email"),
        ({"email": "a" * 60 + "@" + "b." * 120 + "example"}, "#/email"),
        ({"email": 7}, "#/email"),
        ({}, "#/email"),
        ({"email": "a@shop.example", "phone": "1"}, "#/phone"),
    ],
)
async def test_what_is_no_address_is_refused_and_not_repeated(body: object, pointer: str) -> None:
    """Nothing that would break out of a header is kept, and no answer or log shows it."""
    async with make_edge().client() as client:
        answer = await client.put("/api/v1/contacts/usr_001", json=body)
        gone = await client.get("/api/v1/contacts/usr_001")
    assert (answer.status_code, gone.status_code) == (400, 404)
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert "shop.example" not in answer.text


@pytest.mark.parametrize("user_id", ["x" * 65, "a%20b", "%00", "%C3%A9"])
async def test_a_user_id_is_short_and_plain(user_id: str) -> None:
    """What the table would refuse is refused at the door."""
    async with make_edge().client() as client:
        for answer in (
            await client.get(f"/api/v1/contacts/{user_id}"),
            await client.put(f"/api/v1/contacts/{user_id}", json={"email": "a@shop.example"}),
            await client.delete(f"/api/v1/contacts/{user_id}"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed")

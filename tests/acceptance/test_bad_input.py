"""Bad input on the running platform: a 4xx that names the place, and nothing stored (item 5)."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.books import at_rest
from tests.acceptance.database import value
from tests.acceptance.processes import CUSTOMER, MOUSE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx2 import Response
    from tests.acceptance.processes import PlatformProcess

LINE = {"productId": MOUSE, "quantity": 1, "unitPrice": 29.99}
ORDER = {"customerId": CUSTOMER, "items": [LINE], "currency": "EUR"}
STORED = {
    "order": "SELECT (SELECT count(*) FROM app.orders) + (SELECT count(*) FROM app.order_timeline)"
    " + (SELECT count(*) FROM app.idempotency_keys) + (SELECT count(*) FROM messaging.outbox)",
    "inventory": "SELECT (SELECT count(*) FROM app.products)"
    " + (SELECT count(*) FROM app.stock_ledger) + (SELECT count(*) FROM messaging.outbox)",
}


def order(**members: object) -> bytes:
    """The valid order with other members."""
    return json.dumps(ORDER | members).encode()


def line(**members: object) -> bytes:
    """The valid order with one line that has other members."""
    return order(items=[LINE | members])


def raw(old: str, new: str) -> bytes:
    """The valid order as text with a piece replaced."""
    text = json.dumps(ORDER)
    assert old in text
    return text.replace(old, new).encode()


MALFORMED = {
    "no body": b"",
    "cut off": order()[:-1],
    "no JSON": b"order please",
    "no UTF-8": b"\xff\xfe" + order(),
    "NaN": raw("29.99", "NaN"),
    "Infinity": raw("29.99", "-Infinity"),
    "duplicate member": raw('"currency"', '"customerId": "x", "currency"'),
    "duplicate member in a line": raw('"quantity"', '"quantity": 2, "quantity"'),
    "U+0000": raw("EUR", r"E\u0000R"),
    "U+0000 in a name that is ignored": raw('"currency"', r'"a\u0000b": 1, "currency"'),
    "a bare U+0000": raw("EUR", "E\0R"),
    "lone surrogate": raw("EUR", r"\ud800"),
    "swapped surrogates": raw("EUR", r"\udc00\ud800"),
    "deep nesting": b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
}
INVALID = {
    "an array": (b"[]", "#"),
    "a string": (b'"order"', "#"),
    "null": (b"null", "#"),
    "customer as a number": (order(customerId=1), "#/customerId"),
    "no customer": (order(customerId=None), "#/customerId"),
    "customer of words": (order(customerId="me"), "#/customerId"),
    "no items": (order(items=[]), "#/items"),
    "items as an object": (order(items={}), "#/items"),
    "101 lines": (order(items=[LINE] * 101), "#/items"),
    "a null line": (order(items=[None]), "#/items/0"),
    "a list as a line": (order(items=[[1]]), "#/items/0"),
    "currency in small letters": (order(currency="eur"), "#/currency"),
    "currency as a number": (order(currency=978), "#/currency"),
    "product of words": (line(productId="mouse"), "#/items/0/productId"),
    "quantity 0": (line(quantity=0), "#/items/0/quantity"),
    "quantity -1": (line(quantity=-1), "#/items/0/quantity"),
    "quantity 2^31": (line(quantity=2**31), "#/items/0/quantity"),
    "quantity 2^63": (line(quantity=2**63), "#/items/0/quantity"),
    "quantity of 400 digits": (raw('"quantity": 1', '"quantity": ' + "9" * 400), None),
    "quantity 2.5": (line(quantity=2.5), "#/items/0/quantity"),
    "quantity true": (line(quantity=True), "#/items/0/quantity"),
    "quantity in quotes": (line(quantity="2"), "#/items/0/quantity"),
    "price 0.015": (line(unitPrice=0.015), "#/items/0/unitPrice"),
    "price 0": (line(unitPrice=0), "#/items/0/unitPrice"),
    "price -1": (line(unitPrice=-1), "#/items/0/unitPrice"),
    "price 1e999999": (raw("29.99", "1e999999"), "#/items/0/unitPrice"),
    "price of 5,000 digits": (raw("29.99", "9" * 5_000), None),
    "price of words": (line(unitPrice="cheap"), "#/items/0/unitPrice"),
    "price NaN in quotes": (line(unitPrice="NaN"), "#/items/0/unitPrice"),
    "price 1_0 in quotes": (line(unitPrice="1_0"), "#/items/0/unitPrice"),
    "price true": (line(unitPrice=True), "#/items/0/unitPrice"),
    "a total beyond the column": (
        order(items=[LINE | {"unitPrice": 9_999_999_999.99, "quantity": 2}]),
        "#/items",
    ),
}
KEYS = {
    "empty": "",
    "300 characters": "k" * 300,
    "65 characters": "k" * 65,
    "no ASCII": "schlüssel",
    "a quote that does not end": '"key',
}


def post(platform: PlatformProcess, body: bytes, key: str | None = None) -> Response:
    """POST these bytes as an order."""
    given = (key if key is not None else secrets.token_hex(8)).encode()
    headers = [(b"Content-Type", b"application/json"), (b"Idempotency-Key", given)]
    return platform.client.post(f"{platform.url(1)}/api/orders", content=body, headers=headers)


def assert_problem(answer: Response, status: int, code: str) -> list[dict[str, Any]]:
    """The problem's errors."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == code
    errors: list[dict[str, Any]] = answer.json().get("errors", [])
    return errors


@pytest.fixture(autouse=True)
def nothing_stored(shared_platform: PlatformProcess) -> Iterator[None]:
    """No test here leaves a row anywhere."""
    before = {s: value(shared_platform.data, s, query) for s, query in STORED.items()}
    yield
    after = {s: value(shared_platform.data, s, query) for s, query in STORED.items()}
    assert after == before


@pytest.fixture(autouse=True, scope="module")
def quiet(shared_platform: PlatformProcess) -> None:
    """Orders of other tests have ended, so that counts stand still."""
    wait_for(lambda: at_rest(shared_platform.data), 60, "at rest")


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_json_is_refused(shared_platform: PlatformProcess, name: str) -> None:
    """What cannot be read is 400 malformed_json, whatever is wrong with it."""
    assert_problem(post(shared_platform, MALFORMED[name]), 400, "malformed_json")


@pytest.mark.parametrize("name", INVALID)
def test_a_wrong_value_is_refused_with_its_place(
    shared_platform: PlatformProcess, name: str
) -> None:
    """Protocol I6: 400, and the pointer leads to the field."""
    body, pointer = INVALID[name]
    answer = post(shared_platform, body)
    if pointer is None:  # too long to be read as a number at all
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] in {"malformed_json", "validation_failed"}
        return
    errors = assert_problem(answer, 400, "validation_failed")
    assert [error["pointer"] for error in errors] == [pointer]


@pytest.mark.parametrize("name", KEYS)
def test_an_unusable_key_is_refused(shared_platform: PlatformProcess, name: str) -> None:
    """Defect D14: a key that the column cannot hold is 400, and the header is named."""
    answer = post(shared_platform, order(), KEYS[name])
    code = "idempotency_key_invalid" if KEYS[name] else "idempotency_key_missing"
    errors = assert_problem(answer, 400, code)
    assert [error["header"] for error in errors] == ["Idempotency-Key"]


def test_a_body_of_65_kilobytes_is_too_large(shared_platform: PlatformProcess) -> None:
    """413, with a length and without one."""
    body = order(note="x" * 65 * 1024)
    assert_problem(post(shared_platform, body), 413, "body_too_large")

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(body), 8_192):
            yield body[at : at + 8_192]

    headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)}
    answer = shared_platform.client.post(
        f"{shared_platform.url(1)}/api/orders", content=chunks(), headers=headers
    )
    assert_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"name": "", "stock": 1}', "#/name"),
        (b'{"name": "Lamp", "stock": -1}', "#/stock"),
        (b'{"name": "Lamp", "stock": 9223372036854775808}', "#/stock"),
        (b'{"name": "Lamp", "stock": "1"}', "#/stock"),
        (b'{"name": 7, "stock": 1}', "#/name"),
        (b'{"name": "Lamp", "stock": 1, "id": "x"}', "#/id"),
        (b'{"name": "Lamp", "stock": 1, "colour": "red"}', None),
        (b'{"name": "La\\u0000mp", "stock": 1}', None),
        (b'{"name": "Lamp", "stock": NaN}', None),
    ],
)
def test_a_wrong_product_is_refused(
    shared_platform: PlatformProcess, body: bytes, pointer: str | None
) -> None:
    """The other bodies that are taken are judged as strictly."""
    answer = shared_platform.client.post(
        f"{shared_platform.url(3)}/api/products",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    if pointer is not None:
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "path",
    [
        "/api/orders/%00",
        "/api/orders/%ff%fe",
        "/api/orders/../../etc/passwd",
        "/api/orders/" + "9" * 5_000,
        "/api/orders?limit=1e9",
        "/api/orders?customerId=%00",
        "/api/orders?limit=99999999999999999999999",
        "/api/orders?cursor=AAAA",
        "/api/orders?status=%F0%9F%92%A3",
    ],
)
def test_a_wrong_address_is_refused(shared_platform: PlatformProcess, path: str) -> None:
    """Ids, filters and cursors that are none are the caller's mistake, never an error of ours."""
    answer = shared_platform.client.get(shared_platform.url(1) + path)
    assert answer.status_code in {400, 404}, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"

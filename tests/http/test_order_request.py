"""The order's body: read exactly as documented, refused with every place that is wrong."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.http.edge_memory import CUSTOMER, MOUSE, order_body

from waybill.commerce.http.problem import Problem
from waybill.commerce.http.strict_json import pointer
from waybill.commerce.money import AMOUNT_MAX
from waybill.commerce.orders.request import OrderContent, _unusual, _usual, fingerprint, parse_order

LINE = {"productId": str(MOUSE), "quantity": 1, "unitPrice": 1}


def _raw(**changes: str) -> bytes:
    """The documents' order as text, members replaced by raw JSON."""
    members = {
        "customerId": f'"{CUSTOMER}"',
        "productId": f'"{MOUSE}"',
        "quantity": "2",
        "unitPrice": "29.99",
        "currency": '"EUR"',
        **changes,
    }
    line = ",".join(f'"{name}":{members[name]}' for name in ("productId", "quantity", "unitPrice"))
    text = (
        f'{{"customerId":{members["customerId"]},"items":[{{{line}}}],'
        f'"currency":{members["currency"]}}}'
    )
    return text.encode()


def _refusal(body: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        parse_order(body)
    assert refused.value.status == 400
    return refused.value


@pytest.mark.parametrize(
    ("member", "value", "pointer"),
    [
        ("quantity", "0", "#/items/0/quantity"),
        ("quantity", "-1", "#/items/0/quantity"),
        ("quantity", "10001", "#/items/0/quantity"),
        ("quantity", str(2**31), "#/items/0/quantity"),
        ("quantity", str(2**63), "#/items/0/quantity"),
        ("quantity", "1" + "0" * 400, "#/items/0/quantity"),
        ("quantity", "true", "#/items/0/quantity"),
        ("quantity", "2.5", "#/items/0/quantity"),
        ("quantity", "2.0", "#/items/0/quantity"),
        ("quantity", '"2"', "#/items/0/quantity"),
        ("quantity", "null", "#/items/0/quantity"),
        ("quantity", "1e999999", "#/items/0/quantity"),
        ("unitPrice", "0.015", "#/items/0/unitPrice"),
        ("unitPrice", '"0.015"', "#/items/0/unitPrice"),
        ("unitPrice", "0", "#/items/0/unitPrice"),
        ("unitPrice", "0.009", "#/items/0/unitPrice"),
        ("unitPrice", "-29.99", "#/items/0/unitPrice"),
        ("unitPrice", "1e999999", "#/items/0/unitPrice"),
        ("unitPrice", "1e-999999", "#/items/0/unitPrice"),
        ("unitPrice", "1e99999999999999999999", "#/items/0/unitPrice"),
        ("unitPrice", "9" * 401, "#/items/0/unitPrice"),
        ("unitPrice", "10000000000", "#/items/0/unitPrice"),
        ("unitPrice", "29." + "0" * 100 + "1", "#/items/0/unitPrice"),
        ("unitPrice", "true", "#/items/0/unitPrice"),
        ("unitPrice", "null", "#/items/0/unitPrice"),
        ("unitPrice", "[]", "#/items/0/unitPrice"),
        ("unitPrice", '""', "#/items/0/unitPrice"),
        ("unitPrice", '"NaN"', "#/items/0/unitPrice"),
        ("unitPrice", '"1_0"', "#/items/0/unitPrice"),
        ("unitPrice", '" 1"', "#/items/0/unitPrice"),
        ("unitPrice", '"\\u0661"', "#/items/0/unitPrice"),
        ("productId", '"1111"', "#/items/0/productId"),
        ("productId", '"{11111111-1111-1111-1111-111111111111}"', "#/items/0/productId"),
        ("productId", '"11111111-1111-1111-1111-1111111_1111"', "#/items/0/productId"),
        ("productId", "null", "#/items/0/productId"),
        ("customerId", "null", "#/customerId"),
        ("customerId", "7", "#/customerId"),
        ("currency", '"eur"', "#/currency"),
        ("currency", '"EURO"', "#/currency"),
        ("currency", '"EUR\\n"', "#/currency"),
        ("currency", "1", "#/currency"),
        ("customerId", '"\\u0000"', "#/customerId"),
        ("currency", '"\\ud800"', "#/currency"),
        ("unitPrice", "NaN", "#/items/0/unitPrice"),
        ("unitPrice", "-Infinity", "#/items/0/unitPrice"),
        ("unitPrice", '1,"quantity":3', "#/items/0/quantity"),
    ],
)
def test_each_bad_value_is_refused_with_its_place(member: str, value: str, pointer: str) -> None:
    """Protocol I6: bad input is a 400 that names the field."""
    problem = _refusal(_raw(**{member: value}))
    assert problem.code in {"validation_failed", "malformed_json"}
    assert [error.pointer for error in problem.errors] == [pointer]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}{}", b"[" * 60_000],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    """Malformed JSON is a 400, whatever is wrong with it."""
    assert _refusal(body).errors


def test_nesting_is_bounded_also_in_members_that_are_ignored() -> None:
    """API4: JSON depth is at most 16."""
    deep: Any = 1
    for _ in range(15):
        deep = [deep]
    parse_order(json.dumps(order_body(extra=deep)).encode())
    problem = _refusal(json.dumps(order_body(extra=[deep])).encode())
    assert problem.errors[0].pointer == "#/extra" + "/0" * 15


@pytest.mark.parametrize("items", [[], None, {}, [LINE] * 101])
def test_an_order_has_one_to_a_hundred_lines(items: object) -> None:
    """API4: at most 100 lines; contracts 1.2: at least one."""
    problem = _refusal(json.dumps(order_body(items=items)).encode())
    assert [error.pointer for error in problem.errors] == ["#/items"]


def test_a_hundred_lines_of_the_largest_quantity_pass() -> None:
    """The limits themselves are allowed."""
    lines = [{**LINE, "quantity": 10_000}] * 100
    order = parse_order(json.dumps(order_body(items=lines)).encode())
    assert order.total_amount == 1_000_000


def test_a_null_line_is_refused_and_not_a_crash() -> None:
    """Defect D14: items:[null] passed validation and ended as a 500."""
    problem = _refusal(json.dumps(order_body(items=[LINE, None])).encode())
    assert [error.pointer for error in problem.errors] == ["#/items/1"]


def test_a_total_beyond_the_column_is_refused() -> None:
    """Defect D14: NUMERIC(12,2) overflow ended as a 500."""
    line = {**LINE, "unitPrice": "9999999999.99"}
    assert parse_order(json.dumps(order_body(items=[line])).encode()).total_amount == AMOUNT_MAX
    problem = _refusal(json.dumps(order_body(items=[line, LINE])).encode())
    assert [error.pointer for error in problem.errors] == ["#/items"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """C34: errors are collected, each with its pointer."""
    body = {"customerId": "x", "items": [{**LINE, "quantity": 0, "unitPrice": 0}], "currency": "e"}
    problem = _refusal(json.dumps(body).encode())
    assert {error.pointer for error in problem.errors} == {
        "#/customerId",
        "#/items/0/quantity",
        "#/items/0/unitPrice",
        "#/currency",
    }


def test_a_thousand_errors_make_a_bounded_answer() -> None:
    """Style: limits on everything, also on what we say."""
    problem = _refusal(json.dumps(order_body(items=[{}] * 100)).encode())
    assert len(problem.errors) == 20


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        ("10", "10"),
        ("29.9", "29.9"),
        ("29.990", "29.99"),
        ('"29.99"', "29.99"),
        ("1e2", "100"),
        ("2.999e1", "29.99"),
        ("29.99" + "0" * 100, "29.99"),
        ("0.01", "0.01"),
    ],
)
def test_a_price_keeps_its_value_and_its_digits(price: str, shown: str) -> None:
    """C35, C36: numeric strings and trailing zeros pass; no value ever changes."""
    order = parse_order(_raw(unitPrice=price))
    assert str(order.items[0].unit_price) == shown
    assert order.total_amount == order.items[0].unit_price * 2


@pytest.mark.parametrize(
    ("currency", "price", "passes"),
    [
        ("JPY", "100", True),
        ("JPY", "100.00", True),
        ("JPY", "100.5", False),
        ("KWD", "1.25", True),
        ("KWD", "1.255", False),
        ("XTS", "1.25", True),
    ],
)
def test_the_minor_unit_is_the_currencys(currency: str, price: str, passes: bool) -> None:  # noqa: FBT001 - a table's column
    """C36 with ISO 4217: yen have no digits; dinars have two here, as the columns do."""
    body = _raw(currency=f'"{currency}"', unitPrice=price)
    if passes:
        assert parse_order(body).items[0].unit_price == Decimal(price)
    else:
        assert [error.pointer for error in _refusal(body).errors] == ["#/items/0/unitPrice"]


@pytest.mark.parametrize("currency", ["null", '""', '"  "', '"EUR"'])
def test_the_currency_is_euro_unless_said_otherwise(currency: str) -> None:
    """Contracts 1.2: null and blank mean EUR."""
    assert parse_order(_raw(currency=currency)).currency == "EUR"


def test_unknown_members_are_ignored() -> None:
    """C35: seed 003 ignores them."""
    order = parse_order(json.dumps(order_body(orderId="x", items=[{**LINE, "sku": 1}])).encode())
    assert len(order.items) == 1


def test_equal_values_have_one_fingerprint() -> None:
    """C5: the hash is over parsed values, 29.99 = 29.990."""
    texts = ["29.99", "29.990", '"29.99"', "2.999e1"]
    assert len({fingerprint(parse_order(_raw(unitPrice=text))) for text in texts}) == 1
    blank, named = parse_order(_raw(currency="null")), parse_order(_raw())
    assert fingerprint(blank) == fingerprint(named)


def test_other_values_have_another_fingerprint() -> None:
    """C5: price, quantity, product, customer, currency and the lines' order all count."""
    other = "22222222-2222-2222-2222-222222222222"
    two = [LINE, {**LINE, "productId": other}]
    bodies = [
        order_body(),
        order_body(currency="USD"),
        order_body(customerId=other),
        order_body(items=[LINE]),
        order_body(items=[{**LINE, "quantity": 2}]),
        order_body(items=[{**LINE, "unitPrice": 2}]),
        order_body(items=two),
        order_body(items=two[::-1]),
    ]
    found = {fingerprint(parse_order(json.dumps(body).encode())) for body in bodies}
    assert len(found) == len(bodies)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_LINES = st.lists(
    st.fixed_dictionaries(
        {"productId": _JSON | st.just(str(MOUSE)), "quantity": _JSON, "unitPrice": _JSON}
    )
    | _JSON,
    max_size=3,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.binary(max_size=60)
    | st.fixed_dictionaries(
        {"customerId": _JSON | st.just(CUSTOMER), "items": _LINES | _JSON, "currency": _JSON}
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_an_order_that_fits_or_a_400(body: bytes) -> None:
    """Promise I6: whatever passes fits the tables, whatever does not is the client's to know."""
    outcome = _outcome(body)
    if isinstance(outcome, Problem):
        assert outcome.status == 400
        assert outcome.errors
        return
    assert 0 < outcome.total_amount <= AMOUNT_MAX
    assert outcome.total_amount == outcome.total_amount.quantize(Decimal("0.01"))
    assert all(1 <= line.quantity <= 10_000 for line in outcome.items)


def _outcome(body: bytes) -> OrderContent | Problem:
    try:
        return parse_order(body)
    except Problem as problem:
        return problem


_ODD = st.sampled_from(
    [
        *('"', "\\", ":", ",", "{", "}", "[", "]", "-", "e", "E", ".", "0", "9", " ", "\n"),
        *("\x00", "\u0661", "\\u0063", "00", "1e1", "null"),
        *('"currency":"USD",', '"quantity":3,', '"sku":1,'),
    ]
)
_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "quantity": st.sampled_from(["1", "10000", "10001", "-0", "2.0", '"2"', "1e1", "true"]),
        "unitPrice": st.sampled_from(["0", "0.00", "0.01", "01", "1.230", "9999999999.99", '"5"']),
        "currency": st.sampled_from(['"JPY"', '""', '" "', "null", '"E:R"', '"EUR","currency":1']),
        "customerId": st.sampled_from([f'"{CUSTOMER.replace("-", "")}"', f'"{CUSTOMER}" ', "1"]),
    },
)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(_VALUES, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), _ODD), max_size=2))
def test_the_short_way_accepts_nothing_that_the_long_way_refuses(
    values: dict[str, str], changes: list[tuple[int, int, str]]
) -> None:
    """Protocol I6: usual bodies are read in another way, never by another rule."""
    text = _raw(**values).decode()
    for at, cut, odd in changes:
        before = at % len(text)
        text = text[:before] + odd + text[before + cut :]
    short = _usual(text.encode())
    if short is not None:
        long = _unusual(text.encode())
        assert short == long
        assert fingerprint(short) == fingerprint(long)


@pytest.mark.parametrize("member", ["quantity", "unitPrice", "currency", "customerId"])
@pytest.mark.parametrize(
    "value", [b"[" * 20_000, b'"\xff"', b'"\xed\xa0\x80"', b'"x', b'{"a":' * 9_000]
)
def test_no_bytes_break_the_short_way(member: str, value: bytes) -> None:
    """Promise I6: deep nesting and broken UTF-8 are a 400 in every place, never our fault."""
    assert _refusal(_raw(**{member: "@"}).replace(b"@", value)).errors


@pytest.mark.parametrize(
    "body",
    [
        _raw(),
        _raw(unitPrice="5", quantity="10000"),
        b" " + _raw(currency='"USD"') + b"\n",
        json.dumps(order_body(items=[LINE] * 100), indent=2).encode(),
        json.dumps({"customerId": CUSTOMER, "items": [LINE]}).encode(),
    ],
)
def test_usual_bodies_go_the_short_way(body: bytes) -> None:
    """Whatever the spaces between its members; what it finds is what the long way finds."""
    assert _usual(body) == _unusual(body)


def test_the_fingerprint_is_the_documented_hash() -> None:
    """C5: SHA-256 of seed 003's canonical JSON; keys that are stored must go on matching."""
    text = (
        f'{{"customerId":"{CUSTOMER}","items":[{{"productId":"{MOUSE}","quantity":2,'
        '"unitPrice":5.00}],"currency":"EUR"}'
    )
    found = fingerprint(parse_order(_raw(unitPrice="5")))
    assert found == hashlib.sha256(text.encode()).hexdigest()


def test_a_name_that_looks_like_data_is_not_repeated() -> None:
    """I48: an error says where, but no card number or address that stands where a name belongs."""
    assert pointer("items", 0, "unitPrice") == "#/items/0/unitPrice"
    assert pointer("items", 0, "4111111111111111", "x") == "#/items/0"
    assert pointer("ada@example.org") == "#"

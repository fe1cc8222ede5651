"""The request to place an order: from untrusted bytes to values that every later step may trust.

Pure. Whatever leaves this module fits the tables: bounded, finite, free of U+0000. Read as seed
003 reads it (C35): unknown members are ignored, a price may be a numeric string, a quantity must
be a JSON integer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Line
from waybill.commerce.http.problem import FieldError, invalid
from waybill.commerce.http.strict_json import decode, pointer
from waybill.commerce.money import (
    AMOUNT_MAX,
    AMOUNT_MIN,
    SCALE_MAX,
    canonical,
    finer_than_minor_unit,
    minor_digits,
    normalised,
)
from waybill.commerce.orders.usual_request import UsualLine, plain_price, usual_order

CURRENCY_DEFAULT = "EUR"
LINES_MAX = 100
QUANTITY_MAX = 10_000
KEYLESS = "none "
"""How the key of a request begins that came without one: nobody can repeat it."""

_encode = msgspec.json.Encoder(decimal_format="number").encode
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CURRENCY = re.compile("[A-Z]{3}")
_AMOUNT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


class OrderContent(msgspec.Struct, frozen=True):
    """What the body says, valid. `total_amount` is the sum over the lines, exact."""

    customer_id: UUID
    currency: str
    items: tuple[Line, ...]
    total_amount: Decimal
    particulars: bytes | None = None
    """What else a blueprint keeps of it, as JSON that only it reads."""
    distinguished_by: bytes = b""
    """What else makes it another payload under the same key."""


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A valid request. `(scope, route, key)` is its idempotency identity (C37, protocol I1).

    `scope` is the caller ("" while there are no tokens). `fingerprint` is the SHA-256 (hex) over
    the parsed values, so that 29.99 and 29.990 are one payload. `traceparent` is the context
    in which the order is placed.
    """

    scope: str
    route: str
    key: str
    fingerprint: str
    customer_id: UUID
    currency: str
    items: tuple[Line, ...]
    total_amount: Decimal
    traceparent: str
    particulars: bytes | None = None
    correlation_id: str | None = None
    """What the order's messages are correlated by; None: its id."""


class Placed(msgspec.Struct, frozen=True):
    """The order is durable. `body` is the first response, byte for byte, also on a replay.

    `status` is the answer's; None: 201, and 200 on a replay.
    """

    body: bytes
    replayed: bool
    order_id: UUID | None = None
    status: int | None = None


class KeyReused(msgspec.Struct, frozen=True):
    """The key belongs to another payload; nothing was done."""

    order_id: UUID


class NotTaken(msgspec.Struct, frozen=True):
    """What was wanted is not there; nothing was stored, and the key stays free.

    `errors` say it of each line that it is true of.
    """

    status: int
    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()


Outcome = Placed | KeyReused | NotTaken
"""What became of a request."""


def parse_order(body: bytes) -> OrderContent:
    """The order in this body. Raises Problem 400 with everything that is wrong with it."""
    return _usual(body) or _unusual(body)


def _usual(body: bytes) -> OrderContent | None:
    """Most orders, in half of the time; None for what only `_unusual` can judge."""
    found = usual_order(body)
    if found is None or not 1 <= len(found.items) <= LINES_MAX:
        return None
    currency = CURRENCY_DEFAULT if found.currency is msgspec.UNSET else found.currency
    known = _UUID.fullmatch(found.customer_id) and _CURRENCY.fullmatch(currency)
    if not known or minor_digits(currency) != SCALE_MAX:
        return None
    items = [_usual_line(line) for line in found.items]
    lines = tuple([line for line in items if line is not None])
    total = total_of(lines)
    if len(lines) < len(items) or total > AMOUNT_MAX:
        return None
    return OrderContent(msgspec.convert(found.customer_id, UUID), currency, lines, total)


def _usual_line(line: UsualLine) -> Line | None:
    price = plain_price(line.unit_price)
    if price is None or not 1 <= line.quantity <= QUANTITY_MAX:
        return None
    if not _UUID.fullmatch(line.product_id):
        return None
    return Line(msgspec.convert(line.product_id, UUID), line.quantity, price)


def total_of(lines: tuple[Line, ...]) -> Decimal:
    """The exact sum of quantity times price."""
    return sum([line.unit_price * line.quantity for line in lines], Decimal(0))


def _unusual(body: bytes) -> OrderContent:
    document = decode(body)
    errors: list[FieldError] = []
    if not isinstance(document, dict):
        raise invalid([FieldError("must be an object", pointer=pointer())])
    customer_id = _uuid(document.get("customerId"), errors, "customerId")
    currency = read_currency(document.get("currency"), errors)
    items = read_lines(document.get("items"), currency, errors, BY_UUID)
    total = total_of(items)
    if total > AMOUNT_MAX:
        errors.append(FieldError(f"total must be at most {AMOUNT_MAX}", pointer=pointer("items")))
    if errors or customer_id is None:
        raise invalid(errors)
    return OrderContent(customer_id, currency, items, total)


def _product(value: object) -> UUID | None:
    return UUID(value) if isinstance(value, str) and _UUID.fullmatch(value) else None


class Naming(msgspec.Struct, frozen=True):
    """How a line names its product: in which member, what it stands for, what it must be.

    And in which members it says how many, and at what price.
    """

    member: str
    product: Callable[[object], UUID | None]
    must_be: str
    quantity: str = "quantity"
    price: str = "unitPrice"


BY_UUID = Naming("productId", _product, "must be a UUID")


class _Canonical(msgspec.Struct, frozen=True, rename="camel"):
    """What the fingerprint is of, in its order."""

    customer_id: UUID
    items: list[Line]
    currency: str


def fingerprint(order: OrderContent) -> str:
    """SHA-256 (lower-case hex) of the canonical JSON of the parsed values, lines in their order.

    Seed 003's own hash, but over values instead of texts (C5).
    """
    items = [
        Line(line.product_id, line.quantity, canonical(line.unit_price)) for line in order.items
    ]
    canonical_order = _encode(_Canonical(order.customer_id, items, order.currency))
    return sha256(canonical_order + order.distinguished_by).hexdigest()


def _uuid(value: object, errors: list[FieldError], *path: str | int) -> UUID | None:
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    errors.append(FieldError("must be a UUID", pointer=pointer(*path)))
    return None


def read_currency(value: object, errors: list[FieldError]) -> str:
    """Three capital letters, by default euros; what is wrong with them goes to `errors`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return CURRENCY_DEFAULT
    if isinstance(value, str) and _CURRENCY.fullmatch(value):
        return value
    errors.append(FieldError("must be three capital letters", pointer=pointer("currency")))
    return CURRENCY_DEFAULT


def read_lines(
    value: object, currency: str, errors: list[FieldError], naming: Naming
) -> tuple[Line, ...]:
    """The lines of an order; what is wrong with them goes to `errors`."""
    if not isinstance(value, list) or not 1 <= len(value) <= LINES_MAX:
        errors.append(FieldError(f"must be 1 to {LINES_MAX} lines", pointer=pointer("items")))
        return ()
    lines = (_line(item, at, currency, errors, naming) for at, item in enumerate(value))
    return tuple(line for line in lines if line is not None)


def _line(
    item: Any,  # noqa: ANN401 - untrusted JSON
    at: int,
    currency: str,
    errors: list[FieldError],
    naming: Naming,
) -> Line | None:
    if not isinstance(item, dict):
        errors.append(FieldError("must be an object", pointer=pointer("items", at)))
        return None
    product_id = naming.product(item.get(naming.member))
    if product_id is None:
        errors.append(FieldError(naming.must_be, pointer=pointer("items", at, naming.member)))
    quantity = item.get(naming.quantity)
    if type(quantity) is not int or not 1 <= quantity <= QUANTITY_MAX:
        errors.append(
            FieldError(
                f"must be an integer from 1 to {QUANTITY_MAX}",
                pointer=pointer("items", at, naming.quantity),
            )
        )
        quantity = None
    price = _price(item.get(naming.price))
    defect = "must be a decimal number" if price is None else _price_defect(price, currency)
    if defect is not None:
        errors.append(FieldError(defect, pointer=pointer("items", at, naming.price)))
    if product_id is None or quantity is None or price is None or defect is not None:
        return None
    return Line(product_id, quantity, normalised(price, currency))


def _price(value: object) -> Decimal | None:
    if isinstance(value, Decimal):
        return value
    if type(value) is int or (isinstance(value, str) and _AMOUNT.fullmatch(value)):
        return Decimal(value)
    return None


def _price_defect(price: Decimal, currency: str) -> str | None:
    # Range first: it is a comparison, whatever the exponent; quantizing needs a bounded one.
    if not AMOUNT_MIN <= price <= AMOUNT_MAX:
        return f"must be from {AMOUNT_MIN} to {AMOUNT_MAX}"
    if finer_than_minor_unit(price, currency):
        return f"must have at most {minor_digits(currency)} digits after the point in {currency}"
    return None

"""Seed 001's POST and GET of an order: by e-mail address and SKU; the rest is seed 003's."""

from __future__ import annotations

import re
from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec

from waybill.commerce.http.fields import Instant
from waybill.commerce.http.problem import FieldError, invalid
from waybill.commerce.http.strict_json import decode, pointer
from waybill.commerce.http.surface import REF, answers, refuses
from waybill.commerce.money import AMOUNT_MAX
from waybill.commerce.orders.contract import OrderContract
from waybill.commerce.orders.documentation import GET_ORDER, PLACE_ORDER, Price, PriceText
from waybill.commerce.orders.request import (
    CURRENCY_DEFAULT,
    LINES_MAX,
    QUANTITY_MAX,
    Naming,
    OrderContent,
    read_lines,
    total_of,
)
from waybill.commerce.sku import SKU_LENGTH_MAX, made_id, product_of

if TYPE_CHECKING:
    from waybill.commerce.orders.views import OrderView

EMAIL_LENGTH_MAX = 254
_EMAIL = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_SKUS = Naming("sku", product_of, f"must be 1 to {SKU_LENGTH_MAX} printable ASCII characters")


class Particulars(msgspec.Struct, frozen=True, rename="camel"):
    """What is kept of a request beside the canonical order; `skus` stand in the lines' order."""

    customer_email: str
    skus: tuple[str, ...]


particulars_of = msgspec.json.Decoder(Particulars).decode


class Placed(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of POST."""

    id: UUID = msgspec.field(name="orderId")
    status: str


class SkuItem(msgspec.Struct, frozen=True, rename="camel"):
    """A line as GET shows it."""

    sku: str
    quantity: int
    unit_price: Decimal


class Reservation(msgspec.Struct, frozen=True, rename="camel"):
    """An order as GET shows it."""

    id: UUID = msgspec.field(name="orderId")
    customer_email: str
    status: str
    items: tuple[SkuItem, ...]
    total_amount: Decimal
    created_at: Instant
    updated_at: Instant


class ReservationPage(msgspec.Struct, frozen=True, rename="camel"):
    """Orders, newest first; `next_cursor` is null on the last page."""

    items: tuple[Reservation, ...]
    next_cursor: str | None = None


class SkuLineRequest(msgspec.Struct, rename="camel"):
    """A line as it is asked for; the price may also be a numeric string."""

    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=SKU_LENGTH_MAX)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    unit_price: Price | PriceText


class ReservationRequest(msgspec.Struct, rename="camel"):
    """The body of POST. For its documentation only."""

    customer_email: Annotated[str, msgspec.Meta(max_length=EMAIL_LENGTH_MAX)]
    items: Annotated[list[SkuLineRequest], msgspec.Meta(min_length=1, max_length=LINES_MAX)]


def parse(body: bytes) -> OrderContent:
    """The order in this body. Raises Problem 400 with everything that is wrong with it."""
    document = decode(body)
    if not isinstance(document, dict):
        raise invalid([FieldError("must be an object", pointer=pointer())])
    errors: list[FieldError] = []
    email = document.get("customerEmail")
    if not isinstance(email, str) or len(email) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(email):
        errors.append(FieldError("must be an e-mail address", pointer=pointer("customerEmail")))
    items = read_lines(document.get("items"), CURRENCY_DEFAULT, errors, _SKUS)
    total = total_of(items)
    if total > AMOUNT_MAX:
        errors.append(FieldError(f"total must be at most {AMOUNT_MAX}", pointer=pointer("items")))
    if errors or not isinstance(email, str):
        raise invalid(errors)
    kept = Particulars(email, tuple(item["sku"] for item in document["items"]))
    return OrderContent(
        customer_id=made_id("customer", email.lower()),
        currency=CURRENCY_DEFAULT,
        items=items,
        total_amount=total,
        particulars=msgspec.json.encode(kept),
    )


def placed(order: OrderView, _kept: bytes | None) -> Placed:
    """What POST answers, and every replay of it."""
    return Placed(order.id, order.status)


def show(order: OrderView, kept: bytes | None) -> Reservation:
    """What GET and cancel answer."""
    particulars = particulars_of(kept or b"")
    return Reservation(
        id=order.id,
        customer_email=particulars.customer_email,
        status=order.status,
        items=tuple(
            SkuItem(sku, line.quantity, line.unit_price)
            for sku, line in zip(particulars.skus, order.items, strict=True)
        ),
        total_amount=order.total_amount,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def _placing() -> dict[str, Any]:
    operation = deepcopy(PLACE_ORDER)
    operation["parameters"][0]["required"] = False
    content = operation["requestBody"]["content"]["application/json"]
    content["schema"] = {"$ref": REF.format(name="ReservationRequest")}
    content["example"] = {
        "customerEmail": "alice@example.com",
        "items": [{"sku": "SKU-123", "quantity": 2, "unitPrice": 1299}],
    }
    replayed = operation["responses"][200]["headers"]
    operation["responses"] |= {
        **answers(201, Placed, "The order is durable"),
        200: {**answers(200, Placed, "A replay: the first answer")[200], "headers": replayed},
        **refuses(
            _409="A price is not that of today (price_changed, price_unknown; where WAYBILL_PRICES "
            "is catalogue)",
            _422="The key was used with another payload",
        ),
    }
    return operation


def _getting() -> dict[str, Any]:
    operation = deepcopy(GET_ORDER)
    operation["responses"] |= answers(200, Reservation, "The order")
    return operation


CONTRACT = OrderContract(
    customer_of=None,
    parse=parse,
    placed=placed,
    show=show,
    statuses=("PENDING", "CONFIRMED", "FAILED", "CANCELED"),
    key_required=False,
    client_correlates=True,
    key_reused_status=422,
    place_operation=_placing(),
    get_operation=_getting(),
    view=Reservation,
    page=ReservationPage,
    structs=(ReservationRequest, Placed, Reservation, ReservationPage),
)

"""Seed 002's POST and GET of an order: the answer waits for the payment (contracts C31).

Whom an order is for and where it goes is kept with it, and stands in no event.
"""

from __future__ import annotations

import re
from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Line
from waybill.commerce.http.fields import Instant
from waybill.commerce.http.problem import FieldError, invalid
from waybill.commerce.http.strict_json import decode, pointer
from waybill.commerce.http.surface import REF, answers, refuses
from waybill.commerce.money import AMOUNT_MAX
from waybill.commerce.orders.contract import OrderContract
from waybill.commerce.orders.documentation import (
    GET_ORDER,
    PLACE_ORDER,
    OrderLineRequest,
)
from waybill.commerce.orders.request import (
    BY_UUID,
    CURRENCY_DEFAULT,
    LINES_MAX,
    OrderContent,
    read_currency,
    read_lines,
    total_of,
)
from waybill.commerce.sku import made_id

if TYPE_CHECKING:
    from waybill.commerce.orders.views import OrderView

PATH, ALIAS = "/api/v1/orders", "/checkout"
EMAIL_LENGTH_MAX = 254
TEXT_LENGTH_MAX = 256
_EMAIL = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")

Member = TypeVar("Member", bound=msgspec.Struct)
Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH_MAX)]


class Customer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Whom the order is for."""

    name: Text | None = None
    email: Annotated[str, msgspec.Meta(max_length=EMAIL_LENGTH_MAX)] | None = None
    phone: Text | None = None


class Address(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where it goes: the members of the document's own code."""

    address_line1: Text | None = None
    address_line2: Text | None = None
    city: Text | None = None
    state: Text | None = None
    zip_code: Text | None = None
    country: Text | None = None


class Particulars(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is kept of a request beside the canonical order."""

    customer: Customer | None = None
    delivery_address: Address | None = None


particulars_of = msgspec.json.Decoder(Particulars).decode


class Checkout(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of POST."""

    id: UUID = msgspec.field(name="orderId")
    status: str
    total_amount: Decimal
    currency: str


class CheckoutOrder(msgspec.Struct, frozen=True, rename="camel"):
    """An order as GET shows it."""

    id: UUID = msgspec.field(name="orderId")
    status: str
    items: tuple[Line, ...]
    total_amount: Decimal
    currency: str
    customer: Customer | None
    delivery_address: Address | None
    created_at: Instant
    updated_at: Instant


class CheckoutPage(msgspec.Struct, frozen=True, rename="camel"):
    """Orders, newest first; `next_cursor` is null on the last page."""

    items: tuple[CheckoutOrder, ...]
    next_cursor: str | None = None


class CheckoutRequest(msgspec.Struct, rename="camel"):
    """The body of POST. For its documentation only."""

    items: Annotated[list[OrderLineRequest], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    currency: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{3}|\s*)$")] | None = CURRENCY_DEFAULT
    customer: Customer | None = None
    delivery_address: Address | None = None


def parse(body: bytes) -> OrderContent:
    """The order in this body. Raises Problem 400 with everything that is wrong with it."""
    document = decode(body)
    if not isinstance(document, dict):
        raise invalid([FieldError("must be an object", pointer=pointer())])
    errors: list[FieldError] = []
    currency = read_currency(document.get("currency"), errors)
    items = read_lines(document.get("items"), currency, errors, BY_UUID)
    total = total_of(items)
    if total > AMOUNT_MAX:
        errors.append(FieldError(f"total must be at most {AMOUNT_MAX}", pointer=pointer("items")))
    customer = _member(document, "customer", Customer, errors)
    address = _member(document, "deliveryAddress", Address, errors)
    email = customer.email if customer else None
    if email is not None and (len(email) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(email)):
        place = pointer("customer", "email")
        errors.append(FieldError("must be an e-mail address", pointer=place))
    if errors:
        raise invalid(errors)
    kept = msgspec.json.encode(Particulars(customer, address))
    return OrderContent(
        customer_id=made_id("customer", (email or "").lower()),
        currency=currency,
        items=items,
        total_amount=total,
        particulars=kept,
        distinguished_by=kept,
    )


def _member(
    document: dict[str, Any], name: str, struct: type[Member], errors: list[FieldError]
) -> Member | None:
    """What the document may leave out; unknown members of it are passed over (C35)."""
    value = document.get(name)
    if value is None:
        return None
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError:
        must = f"must be an object of texts of at most {TEXT_LENGTH_MAX} letters"
        errors.append(FieldError(must, pointer=pointer(name)))
        return None


def placed(order: OrderView, _kept: bytes | None) -> Checkout:
    """What POST answers."""
    return Checkout(order.id, order.status, order.total_amount, order.currency)


def show(order: OrderView, kept: bytes | None) -> CheckoutOrder:
    """What GET and cancel answer."""
    particulars = particulars_of(kept or b"{}")
    return CheckoutOrder(
        id=order.id,
        status=order.status,
        items=order.items,
        total_amount=order.total_amount,
        currency=order.currency,
        customer=particulars.customer,
        delivery_address=particulars.delivery_address,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def _placing() -> dict[str, Any]:
    operation = deepcopy(PLACE_ORDER)
    operation["summary"] = "Place an order and pay for it"
    operation["description"] = (
        "Answered when the payment is decided; 202 if it is not within WAYBILL_PAYMENT_WAIT_SECONDS"
        ": it is paid later, look at Location. The same key with the same values gives the first "
        "answer again, byte for byte and with its status."
    )
    content = operation["requestBody"]["content"]["application/json"]
    content["schema"] = {"$ref": REF.format(name="CheckoutRequest")}
    content["example"] = {
        "items": [
            {
                "productId": "11111111-1111-1111-1111-111111111111",
                "quantity": 2,
                "unitPrice": 29.99,
            }
        ],
        "currency": "EUR",
        "customer": {"name": "Alice", "email": "alice@example.com", "phone": "+49 30 1234567"},
        "deliveryAddress": {"addressLine1": "Main Street 1", "city": "Berlin", "country": "DE"},
    }
    del operation["responses"][200]
    location = {"schema": {"type": "string"}, "description": "The order"}
    operation["responses"] |= {
        **answers(201, Checkout, "Paid: the order is CONFIRMED"),
        202: {
            **answers(202, Checkout, "Not paid yet: the order is PENDING")[202],
            "headers": {"Location": location},
        },
        **refuses(
            _402="The payment was refused: the order is CANCELLED, its id is in orderId",
            _409="The key was used with another payload; a price is not that of today; or "
            "order_cancelled: it was cancelled before it was paid, its id is in orderId",
        ),
    }
    return operation


def _getting() -> dict[str, Any]:
    operation = deepcopy(GET_ORDER)
    operation["responses"] |= answers(200, CheckoutOrder, "The order")
    return operation


CONTRACT = OrderContract(
    customer_of=None,
    path=PATH,
    aliases=(ALIAS,),
    parse=parse,
    placed=placed,
    show=show,
    statuses=("PENDING", "CONFIRMED", "CANCELLED"),
    place_operation=_placing(),
    get_operation=_getting(),
    view=CheckoutOrder,
    page=CheckoutPage,
    structs=(CheckoutRequest, Checkout, CheckoutOrder, CheckoutPage),
)

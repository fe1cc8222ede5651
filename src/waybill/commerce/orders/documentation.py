"""OpenAPI of the hot routes, declared beside them: placing an order and looking at one."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from waybill.commerce.http.negotiation import KEY_LENGTH_MAX
from waybill.commerce.http.surface import REF, answers, refuses
from waybill.commerce.orders.request import CURRENCY_DEFAULT, LINES_MAX, QUANTITY_MAX
from waybill.commerce.orders.views import OrderView

_MOUSE = "11111111-1111-1111-1111-111111111111"


Price = Annotated[
    float,
    Meta(ge=0.01, le=9999999999.99, multiple_of=0.01, description="In the currency's minor unit"),
]
PriceText = Annotated[str, Meta(pattern=r"^0*[0-9]{1,10}(\.[0-9]{1,2}0*)?$")]


class OrderLineRequest(msgspec.Struct, rename="camel"):
    """A line as it is asked for; the price may also be a numeric string."""

    product_id: UUID
    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]
    unit_price: Price | PriceText


class OrderRequest(msgspec.Struct, rename="camel"):
    """The body of POST. For its documentation only: orders/request.py reads it."""

    customer_id: UUID
    items: Annotated[list[OrderLineRequest], Meta(min_length=1, max_length=LINES_MAX)]
    currency: Annotated[str, Meta(pattern="^([A-Z]{3}|\\s*)$")] | None = CURRENCY_DEFAULT


_KEY_PATTERN = (
    rf"^([!#-~]([ -~]{{0,{KEY_LENGTH_MAX - 2}}}[!-~])?"
    rf'|"[ -~]*([!#-\[\]-~]|\\["\\])[ -~]*")$'
)
_EXAMPLE = {
    "customerId": "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
    "items": [{"productId": _MOUSE, "quantity": 2, "unitPrice": 29.99}],
    "currency": "EUR",
}

_REPLAYED = {"schema": {"type": "string", "const": "true"}, "description": "A replay"}

PLACE_ORDER: dict[str, Any] = {
    "tags": ["orders"],
    "operationId": "placeOrder",
    "summary": "Place an order",
    "description": (
        "Answered after the commit: a 2xx is durable. The same key with the same values gives "
        "the first answer again, byte for byte."
    ),
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": "Chosen by the client; bare, or quoted as a structured-field String.",
            "schema": {"type": "string", "pattern": _KEY_PATTERN},
            "example": "demo-001",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name="OrderRequest")},
                "example": _EXAMPLE,
            }
        },
    },
    "responses": {
        **answers(201, OrderView, "The order is durable"),
        200: {
            **answers(200, OrderView, "A replay: the first answer")[200],
            "headers": {"Idempotent-Replayed": _REPLAYED},
        },
        **refuses(
            _400="The body is not valid, or the key is missing or unusable",
            _409="The key was used with another payload; or a price is not that of today "
            "(price_changed, price_unknown; where WAYBILL_PRICES is catalogue)",
            _413="The body is larger than 64 KiB",
            _415="The body is not JSON",
        ),
    },
}

GET_ORDER: dict[str, Any] = {
    "tags": ["orders"],
    "operationId": "getOrder",
    "summary": "One order as it stands",
    "parameters": [
        {
            "name": "id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid", "title": "Id"},
        }
    ],
    "responses": {
        **answers(200, OrderView, "The order"),
        **refuses(_400="The id is no UUID", _404="There is no such order"),
    },
}

"""Seed 000's POST /order by whole numbers, and GET of an order; products have a GET and a PUT."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec

from waybill.blueprints.notify_wire import CURRENCY, lines_of
from waybill.commerce.http.fields import Instant
from waybill.commerce.http.problem import FieldError, invalid
from waybill.commerce.http.strict_json import decode, pointer
from waybill.commerce.http.surface import REF, answers, refuses
from waybill.commerce.numbers import NUMBER_MAX, id_of, number_of
from waybill.commerce.orders.contract import OrderContract
from waybill.commerce.orders.documentation import GET_ORDER, PLACE_ORDER
from waybill.commerce.orders.request import LINES_MAX, NotTaken, OrderContent

if TYPE_CHECKING:
    from waybill.commerce.inventory.own_orders import Lack
    from waybill.commerce.orders.views import OrderView

PATH: Final = "/order"
PLACED, NOTIFIED, FAILED = "PLACED", "NOTIFIED", "FAILED"
_MUST_BE = f"must be a whole number from 1 to {NUMBER_MAX}"
Number = Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)]


class Placed(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of POST."""

    id: UUID = msgspec.field(name="orderId")
    status: str
    message: str = "Order placed successfully"


class NotifyOrder(msgspec.Struct, frozen=True, rename="camel"):
    """An order as GET shows it."""

    id: UUID = msgspec.field(name="orderId")
    user_id: int
    product_ids: tuple[int, ...]
    status: str
    created_at: Instant
    updated_at: Instant


class NotifyOrderPage(msgspec.Struct, frozen=True, rename="camel"):
    """Orders, newest first; `next_cursor` is null on the last page."""

    items: tuple[NotifyOrder, ...]
    next_cursor: str | None = None


class NotifyRequest(msgspec.Struct, rename="camel"):
    """The body of POST: one unit of each product that is listed. For its documentation only."""

    user_id: Number
    product_ids: Annotated[list[Number], msgspec.Meta(min_length=1, max_length=LINES_MAX)]


def parse(body: bytes) -> OrderContent:
    """The order in this body. Raises Problem 400 with everything that is wrong with it."""
    document = decode(body)
    if not isinstance(document, dict):
        raise invalid([FieldError("must be an object", pointer=pointer())])
    errors: list[FieldError] = []
    user_id: Any = document.get("userId")
    if not _is_number(user_id):
        errors.append(FieldError(_MUST_BE, pointer=pointer("userId")))
    products = document.get("productIds")
    if not isinstance(products, list) or not 1 <= len(products) <= LINES_MAX:
        what = f"must be 1 to {LINES_MAX} numbers"
        raise invalid([*errors, FieldError(what, pointer=pointer("productIds"))])
    for at, each in enumerate(products):
        if not _is_number(each):
            errors.append(FieldError(_MUST_BE, pointer=pointer("productIds", at)))
    if errors:
        raise invalid(errors)
    return OrderContent(
        customer_id=id_of(user_id),
        currency=CURRENCY,
        items=lines_of(products),
        total_amount=Decimal(0),
    )


def _is_number(value: object) -> bool:
    return type(value) is int and 1 <= value <= NUMBER_MAX


def placed(order: OrderView, _kept: bytes | None) -> Placed:
    """What POST answers, and every replay of it."""
    return Placed(order.id, order.status)


def show(order: OrderView, _kept: bytes | None) -> NotifyOrder:
    """What GET answers."""
    return NotifyOrder(
        id=order.id,
        user_id=number_of(order.customer_id),
        product_ids=tuple([number_of(line.product_id) for line in order.items]),
        status=order.status,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def refuse(lack: Lack) -> NotTaken:
    """What POST answers to an order that gets nothing (C32)."""
    if lack.unknown is not None:
        detail = f"There is no product {number_of(lack.unknown)}"
        return NotTaken(404, "product_not_found", detail)
    return NotTaken(409, "out_of_stock", lack.detail)


def _placing() -> dict[str, Any]:
    operation = deepcopy(PLACE_ORDER)
    operation["parameters"][0]["required"] = False
    content = operation["requestBody"]["content"]["application/json"]
    content["schema"] = {"$ref": REF.format(name="NotifyRequest")}
    content["example"] = {"userId": 1, "productIds": [1, 2, 3]}
    replayed = operation["responses"][200]["headers"]
    del operation["responses"][201]
    operation["responses"] |= {
        200: {
            **answers(200, Placed, "The order is durable and has its stock")[200],
            "headers": replayed,
        },
        **refuses(
            _404="A product is unknown; nothing is stored",
            _409="Too few of a product are left (out_of_stock; nothing is stored), or the key was "
            "used with another payload (idempotency_key_reused)",
        ),
    }
    return operation


def _getting() -> dict[str, Any]:
    operation = deepcopy(GET_ORDER)
    operation["responses"] |= answers(200, NotifyOrder, "The order")
    return operation


CONTRACT = OrderContract(
    path=PATH,
    parse=parse,
    placed=placed,
    show=show,
    placed_status=200,
    cancellable=False,
    customer_of=None,
    statuses=(PLACED, NOTIFIED, FAILED),
    key_required=False,
    place_operation=_placing(),
    get_operation=_getting(),
    view=NotifyOrder,
    page=NotifyOrderPage,
    structs=(NotifyRequest, Placed, NotifyOrder, NotifyOrderPage),
)

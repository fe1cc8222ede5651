"""Seed 004's POST and GET of an order: by user and SKU, 202, with its timeline."""

from __future__ import annotations

import re
from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from waybill.blueprints.orchestration_events import ORDER_PREFIX, order_id_of
from waybill.commerce.contracts import Reason
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
from waybill.commerce.process import CANCEL_REQUESTED
from waybill.commerce.sku import SKU_LENGTH_MAX, made_id, product_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from waybill.commerce.orders.views import OrderView, TimelineEntry

USER_ID = re.compile(r"[!-?A-~]{1,64}")
"""Any reference; an address has an @, and would stand in every event (R243)."""
_CURRENCY = re.compile("[A-Z]{3}")
_SKUS = Naming(
    "sku",
    product_of,
    f"must be 1 to {SKU_LENGTH_MAX} printable ASCII characters",
    quantity="qty",
    price="price",
)
STATUSES = ("PENDING", "PROCESSING", "PAID", "CONFIRMED", "FAILED")


class Particulars(msgspec.Struct, frozen=True, rename="camel"):
    """What is kept of a request beside the canonical order; `skus` stand in the lines' order."""

    user_id: str
    skus: tuple[str, ...]


particulars_of = msgspec.json.Decoder(Particulars).decode


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every answer begins with."""

    order_id: str
    status: str

    @property
    def id(self) -> UUID:
        """The bare one."""
        return order_id_of(self.order_id)


class Accepted(Shown, frozen=True, kw_only=True):
    """The answer of POST."""


class OrderSummary(Shown, frozen=True, kw_only=True):
    """An order as lists and cancel show it."""

    total: Decimal
    currency: str


class Moment(msgspec.Struct, frozen=True):
    """What happened to an order, and when the order service heard of it."""

    at: Instant
    event: str


class OrderWithWay(OrderSummary, frozen=True, kw_only=True):
    """An order as GET shows it."""

    timeline: tuple[Moment, ...]


class OrderSummaries(msgspec.Struct, frozen=True, rename="camel"):
    """Orders, newest first; `next_cursor` is null on the last page."""

    items: tuple[OrderSummary, ...]
    next_cursor: str | None = None


class QtyLineRequest(msgspec.Struct):
    """A line as it is asked for; the price may also be a numeric string."""

    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=SKU_LENGTH_MAX)]
    qty: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    price: Price | PriceText


class UserOrderRequest(msgspec.Struct, rename="camel"):
    """The body of POST. For its documentation only."""

    user_id: Annotated[str, msgspec.Meta(pattern=f"^{USER_ID.pattern}$")]
    items: Annotated[list[QtyLineRequest], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


def parse(body: bytes) -> OrderContent:
    """The order in this body. Raises Problem 400 with everything that is wrong with it."""
    document = decode(body)
    if not isinstance(document, dict):
        raise invalid([FieldError("must be an object", pointer=pointer())])
    errors: list[FieldError] = []
    user_id, currency = document.get("userId"), document.get("currency")
    if not isinstance(user_id, str) or not USER_ID.fullmatch(user_id):
        must_be = "must be 1 to 64 printable ASCII letters, and no address"
        errors.append(FieldError(must_be, pointer=pointer("userId")))
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        errors.append(FieldError("must be three capital letters", pointer=pointer("currency")))
        currency = CURRENCY_DEFAULT
    items = read_lines(document.get("items"), currency, errors, _SKUS)
    total = total_of(items)
    if total > AMOUNT_MAX:
        errors.append(FieldError(f"total must be at most {AMOUNT_MAX}", pointer=pointer("items")))
    if errors or not isinstance(user_id, str):
        raise invalid(errors)
    kept = Particulars(user_id, tuple(item["sku"] for item in document["items"]))
    return OrderContent(
        customer_id=customer_of(user_id),
        currency=currency,
        items=items,
        total_amount=total,
        particulars=msgspec.json.encode(kept),
    )


def customer_of(user_id: str) -> UUID:
    """The customer's id in the canonical order."""
    return made_id("user", user_id)


def placed(order: OrderView, _kept: bytes | None) -> Accepted:
    """What POST answers."""
    return Accepted(order_id=f"{ORDER_PREFIX}{order.id}", status=order.status)


def show(order: OrderView, _kept: bytes | None) -> OrderSummary:
    """What lists and cancel show."""
    return OrderSummary(
        order_id=f"{ORDER_PREFIX}{order.id}",
        status=order.status,
        total=order.total_amount,
        currency=order.currency,
    )


def show_way(
    order: OrderView, _kept: bytes | None, way: Sequence[TimelineEntry], reason: str | None
) -> OrderWithWay:
    """What GET shows."""
    return OrderWithWay(
        order_id=f"{ORDER_PREFIX}{order.id}",
        status=order.status,
        total=order.total_amount,
        currency=order.currency,
        timeline=tuple(_moments(way, reason)),
    )


_TOLD_BY = {
    (None, "PENDING"): ("OrderCreated",),
    ("PROCESSING", "PAID"): ("PaymentSucceeded",),
    ("PAID", "CONFIRMED"): ("InventoryReserved", "OrderCompleted"),
}
"""The document's events by the edges that they lead along; the order hears of both ends at once."""
_REFUSED_BY = {
    ("PROCESSING", Reason.PAYMENT_REFUSED.value): ("PaymentFailed",),
    ("PROCESSING", Reason.STOCK_UNAVAILABLE.value): ("PaymentSucceeded", "InventoryFailed"),
    ("PAID", Reason.STOCK_UNAVAILABLE.value): ("InventoryFailed",),
}
"""Who refused, by the reason. Stock is asked by the payment, whose news its own may overtake."""


def _moments(way: Sequence[TimelineEntry], reason: str | None) -> Iterator[Moment]:
    """Of an order that its customer cancelled nobody refused anything."""
    for entry in way:
        events: tuple[str, ...] = _TOLD_BY.get((entry.from_status, entry.to_status or ""), ())
        if entry.event == CANCEL_REQUESTED:
            events = ("OrderCancelRequested",)
        elif entry.to_status == "FAILED":
            refused = _REFUSED_BY.get((entry.from_status or "", reason or ""), ())
            events = (*refused, "OrderCompleted")
        for event in events:
            yield Moment(entry.at, event)


def _placing() -> dict[str, Any]:
    operation = deepcopy(PLACE_ORDER)
    operation["parameters"][0]["required"] = False
    operation["description"] = "Answered after the commit: a 2xx is durable. A key is used once."
    content = operation["requestBody"]["content"]["application/json"]
    content["schema"] = {"$ref": REF.format(name="UserOrderRequest")}
    content["example"] = {
        "userId": "usr_001",
        "items": [{"sku": "SKU-123", "qty": 2, "price": 1200}],
        "currency": "LKR",
    }
    for status in (200, 201):
        del operation["responses"][status]
    operation["responses"] |= {
        **answers(202, Accepted, "The order is durable"),
        **refuses(
            _409="The key has placed an order already: `orderId`; or a price is not that of today "
            "(price_changed, price_unknown; where WAYBILL_PRICES is catalogue)"
        ),
    }
    return operation


def _getting() -> dict[str, Any]:
    operation = deepcopy(GET_ORDER)
    operation["parameters"][0]["schema"] = {"type": "string", "title": "Id"}
    operation["responses"] |= {
        **answers(200, OrderWithWay, "The order with its timeline"),
        **refuses(_400="The id is no order's"),
    }
    return operation


CONTRACT = OrderContract(
    customer_of=customer_of,
    path="/api/v1/orders",
    aliases=("/orders",),
    id_prefix=ORDER_PREFIX,
    parse=parse,
    placed=placed,
    show=show,
    show_way=show_way,
    placed_status=202,
    refuses_replays=True,
    cancel_status=202,
    statuses=STATUSES,
    key_required=False,
    client_correlates=True,
    place_operation=_placing(),
    get_operation=_getting(),
    view=OrderSummary,
    page=OrderSummaries,
    structs=(UserOrderRequest, Accepted, OrderSummary, OrderWithWay, OrderSummaries),
)

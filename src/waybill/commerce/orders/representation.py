"""An order as HTTP shows it: one rendering for the first response, its replays and GET.

Members stand in the documents' order, money is a JSON number, times are ISO 8601 with `Z`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.contracts import Line
from waybill.commerce.orders.views import OrderView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waybill.commerce.orders.domain import Order

_encode = msgspec.json.Encoder(decimal_format="number").encode
_STORED = Decimal("0.01")


def view_as_placed(order: Order) -> OrderView:
    """What POST answers: amounts in the scale of the request (contracts 1.2)."""
    return OrderView(
        id=order.id,
        customer_id=order.customer_id,
        status=order.progress.status,
        total_amount=order.total_amount,
        currency=order.currency,
        items=order.items,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def view_as_stored(order: Order) -> OrderView:
    """What GET answers: amounts as NUMERIC(12,2) holds them."""
    return OrderView(
        id=order.id,
        customer_id=order.customer_id,
        status=order.progress.status,
        total_amount=order.total_amount.quantize(_STORED),
        currency=order.currency,
        items=lines_as_stored(order.items),
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def lines_as_stored(items: Iterable[Line]) -> tuple[Line, ...]:
    """Lines with their prices in the scale of NUMERIC(12,2)."""
    return tuple(
        [Line(line.product_id, line.quantity, line.unit_price.quantize(_STORED)) for line in items]
    )


def render_order(view: OrderView) -> bytes:
    """The response body."""
    return _encode(view)

"""An order's body in its usual shape, read in one pass; whatever is unusual is left to others.

It accepts nothing that `request.parse_order` refuses and finds the same values in it: every member
once, ids and currency by the same patterns, prices as plain decimals within their range.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN_PRICE = re.compile(rb"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,2})?")
"""At most AMOUNT_MAX, and no finer than two digits."""
_MEMBERS, _LINE_MEMBERS = 2, 3
"""Of an order besides its currency, and of each of its lines."""


class UsualLine(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A line's members: the price as it is written, so that no digit of it is lost."""

    product_id: str
    quantity: int
    unit_price: msgspec.Raw


class UsualOrder(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body's members."""

    customer_id: str
    items: list[UsualLine]
    currency: str | msgspec.UnsetType = msgspec.UNSET


_decode: Callable[[bytes], UsualOrder] = msgspec.json.Decoder(UsualOrder).decode


def usual_order(body: bytes) -> UsualOrder | None:
    """The members, each there exactly once; None if one look cannot tell."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    members = _MEMBERS + (found.currency is not msgspec.UNSET) + _LINE_MEMBERS * len(found.items)
    # Every member has its colon: more of them is a member twice, or a string that is no id, no
    # currency and no price anyway.
    return found if body.count(b":") == members else None


def plain_price(written: msgspec.Raw) -> Decimal | None:
    """A price in its range with at most two digits after the point, else None."""
    text = bytes(written)
    return (Decimal(text.decode()) or None) if _PLAIN_PRICE.fullmatch(text) else None

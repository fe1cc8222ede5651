"""What seed 004's events say beside the canonical ones; services see those.

Ids are shown with a prefix: `ord_`, `pay_`, `ref_` before our UUIDs.
"""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 - msgspec looks at members' types
from uuid import UUID

import msgspec

from waybill.commerce import contracts
from waybill.commerce.contracts import Currency, Instant  # noqa: TC001 - as above
from waybill.commerce.sku import SkuLine, made_id

ORDER_PREFIX, PAYMENT_PREFIX, REFUND_PREFIX = "ord_", "pay_", "ref_"


class OrderCreated(contracts.OrderCreated, frozen=True, kw_only=True):
    """With whom it is for, and SKUs."""

    user_id: str
    items: tuple[SkuLine, ...]


class OrderConfirmed(contracts.OrderConfirmed, frozen=True, kw_only=True):
    """An OrderCompleted that went well."""

    user_id: str
    total_amount: Decimal
    currency: Currency


class OrderCancelled(contracts.OrderCancelled, frozen=True, kw_only=True):
    """An OrderCompleted that did not."""

    user_id: str
    total_amount: Decimal
    currency: Currency


class PaymentSucceeded(contracts.PaymentSucceeded, frozen=True, kw_only=True):
    """With the lines, so that inventory can reserve them, until when, and who captured as what.

    `auth_code` is the provider's own name of the capture; "" if it gave none.
    """

    items: tuple[SkuLine, ...] = ()
    currency: Currency
    not_after: Instant | None = None
    provider: str = ""
    auth_code: str = ""

    @property
    def total_amount(self) -> Decimal:
        """What was paid is the order's total."""
        return self.amount


class PaymentFailed(contracts.PaymentFailed, frozen=True, kw_only=True):
    """By payments: nothing was captured and nothing will be; with whose charge it was.

    "" if none was ever owed.
    """

    provider: str = ""


class Shortage(msgspec.Struct, frozen=True):
    """What was wanted of a SKU, and what there was."""

    sku: str
    qty: int
    available: int


class StockRejected(contracts.StockRejected, frozen=True, kw_only=True):
    """With what was wanted and what there was."""

    items: tuple[Shortage, ...] = ()


def order_id_of(text: str) -> UUID:
    """Ours is a UUID behind the prefix. Raises ValueError for any other."""
    return UUID(text.removeprefix(ORDER_PREFIX))


def id_of(kind: str, prefix: str, text: str) -> UUID:
    """Of a payment or refund; a stranger's own name is always the same id."""
    try:
        return UUID(text.removeprefix(prefix))
    except ValueError:
        return made_id(kind, text)

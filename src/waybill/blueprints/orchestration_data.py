"""Seed 004's `data` on the wire: the struct of each event."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from waybill.blueprints.orchestration_events import Shortage
from waybill.commerce.contracts import Currency, Instant, Reason, Units
from waybill.commerce.sku import SKU_LENGTH_MAX

NO_CURRENCY = "XXX"
"""ISO 4217's, where a stranger's PaymentSucceeded has none."""

Sku = Annotated[str, msgspec.Meta(min_length=1, max_length=SKU_LENGTH_MAX)]


def _usually(default: str | list[object]) -> msgspec.Meta:
    """The default of a member that is written all the same: only plain defaults are left out."""
    return msgspec.Meta(extra_json_schema={"default": default})


class About(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What all `data` begin with, and all that some have."""

    order_id: str


class Item(msgspec.Struct, frozen=True):
    """A line with its price."""

    sku: Sku
    qty: Units
    price: Decimal


class Held(msgspec.Struct, frozen=True):
    """A line without."""

    sku: Sku
    qty: Units


class Created(About, frozen=True, kw_only=True):
    """OrderCreated; `not_after` is an addition."""

    user_id: str
    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1)]
    currency: Currency
    total: Decimal
    not_after: Instant | None = None


class Succeeded(About, frozen=True, kw_only=True):
    """PaymentSucceeded; additions: `items`, which inventory is to hold, `currency`, `not_after`."""

    payment_id: str
    amount: Decimal
    provider: str = ""
    auth_code: str = ""
    currency: Currency = NO_CURRENCY
    items: tuple[Held, ...] = ()
    not_after: Instant | None = None


class Failed(About, frozen=True, kw_only=True):
    """PaymentFailed; without an amount, nobody was ever asked to pay.

    The reason is always written; a stranger may leave it out.
    """

    amount: Decimal | None = None
    reason: Annotated[Reason, _usually(Reason.PAYMENT_REFUSED.value)] = msgspec.field(
        default_factory=lambda: Reason.PAYMENT_REFUSED
    )
    provider: str = ""
    detail: str | None = None


class Refund(About, frozen=True, kw_only=True):
    """RefundRequested."""

    payment_id: str | None = None
    amount: Decimal
    reason: Reason


class Refunded(About, frozen=True, kw_only=True):
    """PaymentRefunded."""

    payment_id: str
    amount: Decimal
    refund_id: str


class Reserved(About, frozen=True, kw_only=True):
    """InventoryReserved."""

    reservations: Annotated[tuple[Held, ...], msgspec.Meta(min_length=1)]
    warehouse: str = ""


class Rejected(About, frozen=True, kw_only=True):
    """InventoryFailed. Reason and items are always written; a stranger may leave them out."""

    reason: Annotated[Reason, _usually(Reason.STOCK_UNAVAILABLE.value)] = msgspec.field(
        default_factory=lambda: Reason.STOCK_UNAVAILABLE
    )
    items: Annotated[tuple[Shortage, ...], _usually([])] = msgspec.field(default_factory=lambda: ())
    detail: str | None = None


class Completed(About, frozen=True, kw_only=True):
    """OrderCompleted; `reason` where it failed."""

    user_id: str
    status: Literal["CONFIRMED", "FAILED"]
    reason: Reason | None = None
    total: Decimal
    currency: Currency
    detail: str | None = None

"""POST /api/checkout/charge: what the order service asks, and what the payment service answers.

The key is the order's id: however often it is asked, an order is charged once (C31, protocol M9).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Currency
from waybill.commerce.money import AMOUNT_MAX, AMOUNT_MIN

CHARGE_PATH = "/api/checkout/charge"
PAYMENTS_PATH = "/api/payments"
DEADLINE_HEADER = "x-request-deadline"
"""After this instant (ISO 8601) nobody is to begin the charge (protocol M2)."""

Amount = Annotated[Decimal, msgspec.Meta(description="In the currency's minor unit")]


class Charge(msgspec.Struct, frozen=True, rename="camel"):
    """The body: how much an order costs."""

    order_id: UUID
    amount: Amount
    currency: Currency


class Charged(msgspec.Struct, frozen=True, rename="camel"):
    """The answer, once the money was captured."""

    payment_id: UUID
    order_id: UUID
    amount: Amount
    currency: Currency
    status: str


def is_amount(amount: Decimal) -> bool:
    """Whether it lies within our bounds; NaN does not."""
    return amount.is_finite() and AMOUNT_MIN <= amount <= AMOUNT_MAX

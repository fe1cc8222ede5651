"""What the payment service shows over HTTP."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from waybill.commerce.http.fields import Instant


class PaymentView(msgspec.Struct, frozen=True, rename="camel"):
    """A payment: asked for, settled, perhaps given back. `amount` is null if none was asked."""

    id: UUID
    order_id: UUID
    amount: Decimal | None
    currency: str | None
    status: str
    reason: str | None
    detail: str | None
    refund_id: UUID | None
    created_at: Instant
    updated_at: Instant


class PaymentList(msgspec.Struct, frozen=True, rename="camel"):
    """The payments of one order, oldest first."""

    items: tuple[PaymentView, ...]

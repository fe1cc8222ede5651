"""HTTP of the payment service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.commerce.payments.views import PaymentView


class PaymentReads(Protocol):
    """What GET shows. May raise TransientError."""

    async def payments(self, order_id: UUID) -> Sequence[PaymentView]:
        """The payments of an order, oldest first; empty if it has none."""

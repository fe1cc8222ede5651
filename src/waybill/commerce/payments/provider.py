"""The port that money moves by, and how the deliverer uses it.

A provider of one's own implements `PaymentProvider` and passes
`waybill.commerce.testing.payment_provider` (docs/library/payment-provider.md).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import msgspec

from waybill.commerce.payments.domain import ChargeRequest, RefundRequest

if TYPE_CHECKING:
    from decimal import Decimal
    from uuid import UUID

    from waybill.messaging.core.outcome import Outcome, QueryOutcome
    from waybill.messaging.core.ports import Delivery

NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
"""How a provider may be called."""

_charge_of = msgspec.json.Decoder(ChargeRequest).decode
_refund_of = msgspec.json.Decoder(RefundRequest).decode


class PaymentProvider(Protocol):
    """Whoever captures money. A key is honoured for as long as we may repeat it (P6).

    Every method answers with an Outcome: Unknown whenever money may have moved, Failed only if
    surely nothing happened, Refused only if the answer will stay no. What it raises counts as
    Unknown (TransientError: as Failed). It may be cancelled at its time-out, and called again
    with the same key. It never blocks the event loop.
    """

    @property
    def name(self) -> str:
        """What events call it, so nothing secret: see NAME. The same as long as it is used."""

    async def charge(self, key: str, amount: Decimal, currency: str, order_id: UUID) -> Outcome:
        """Capture once a key. A repeated key gets the first answer; with other money, Refused.

        Delivered holds the provider's own name of the charge. Events may show it: nothing personal.
        """

    async def refund(self, key: str, charge_key: str, amount: Decimal, currency: str) -> Outcome:
        """Give back what was captured under `charge_key`, once a key, never more than that."""

    async def charged(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """What became of a charge of so much. NotFound only if this key was never seen.

        Unknown if other money moved under the key: neither yes nor no, an operator decides. A
        query changes nothing: what did not get through is Failed, with `counts=False`.
        """

    async def refunded(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """What became of a refund; as `charged`."""


def is_name(given: object) -> bool:
    """Whether a provider may be called so."""
    return isinstance(given, str) and re.fullmatch(NAME, given) is not None


class ChargeCalls:
    """Charges as the deliverer makes them; the delivery's key is the provider's."""

    def __init__(self, provider: PaymentProvider) -> None:
        self._provider = provider

    async def call(self, delivery: Delivery) -> Outcome:
        """One attempt to charge."""
        asked = _charge_of(delivery.request)
        return await self._provider.charge(
            delivery.key, asked.amount, asked.currency, asked.order_id
        )

    async def query(self, delivery: Delivery) -> QueryOutcome:
        """What became of earlier attempts."""
        asked = _charge_of(delivery.request)
        return await self._provider.charged(delivery.key, asked.amount, asked.currency)


class RefundCalls:
    """Refunds as the deliverer makes them: of the charge under the same key."""

    def __init__(self, provider: PaymentProvider) -> None:
        self._provider = provider

    async def call(self, delivery: Delivery) -> Outcome:
        """One attempt to refund."""
        asked = _refund_of(delivery.request)
        return await self._provider.refund(
            delivery.key, str(asked.order_id), asked.amount, asked.currency
        )

    async def query(self, delivery: Delivery) -> QueryOutcome:
        """What became of earlier attempts."""
        asked = _refund_of(delivery.request)
        return await self._provider.refunded(delivery.key, asked.amount, asked.currency)

"""What a provider tells us unasked: an answer to a call, settled as the call's own would be.

Late and repeated notices change nothing, because the call's row decides: an outcome is taken over
an open call, and where it contradicts what is recorded, the provider is asked what is true.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.payments.domain import CHARGE, CHARGE_EVENTS, REFUND
from waybill.commerce.payments.handlers import ChargesSettled, RefundsSettled
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.outcome import Delivered, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.commerce.payments.domain import ChargeEvents
    from waybill.commerce.payments.provider import PaymentProvider
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.outcome import QueryOutcome
    from waybill.messaging.core.ports import Deliveries, Delivery, Settlement
    from waybill.messaging.runtime.ports import ServicePorts

logger = logging.getLogger(__name__)

_KINDS = {"charge.settled": CHARGE, "refund.settled": REFUND}


class NoticeData(msgspec.Struct, frozen=True):
    """Which call, by its idempotency key, and how it ended: captured, refunded or declined."""

    key: str
    id: str
    status: str
    amount: Decimal
    currency: str
    reason: str = ""


class Notice(msgspec.Struct, frozen=True):
    """The body of a webhook. Types that we do not know are passed over."""

    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Asked(msgspec.Struct, frozen=True):
    """The money of a call's request."""

    amount: Decimal | None = None
    currency: str | None = None


_data = msgspec.json.Decoder(NoticeData).decode
_asked = msgspec.json.Decoder(_Asked).decode


class ProviderNotices:
    """Takes notices whose signature was verified. `charge_events`: those of the charges' own calls.

    `tell` is called as ChargesSettled says; a request that waits in another process is not told.
    """

    def __init__(
        self,
        ports: ServicePorts,
        *,
        deliveries: Deliveries,
        provider: PaymentProvider,
        counters: Counters,
        charge_events: ChargeEvents = CHARGE_EVENTS,
        tell: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._ports = ports
        self._deliveries = deliveries
        self._provider = provider
        self._counters = counters
        self._charge_events = charge_events
        self._tell = tell

    async def take(self, notice: Notice) -> str:
        """Settle the call that it tells of; what was done with it, for the log.

        Raises msgspec.ValidationError for data that are none, and TransientError or
        OutcomeUnknownError when it cannot be stored now: the provider is to send it again.
        """
        kind = _KINDS.get(notice.type)
        if kind is None:
            return "passed over: another type"
        data = _data(notice.data)
        told = _outcome(data)
        found = await self._deliveries.find(kind, [data.key])
        if told is None or not found:
            return "passed over: it tells no end" if told is None else "passed over: not ours"
        ((delivery, recorded),) = found
        wanted = _asked(delivery.request)
        if (wanted.amount, wanted.currency) != (data.amount, data.currency):
            logger.error("%s %s: a notice tells of other money than was asked", kind, data.key)
            return "passed over: other money; the call itself is asked about, or parked"
        if type(recorded) is type(told):
            return "known already"
        if recorded is not None:
            logger.warning("%s %s: a notice contradicts our books; asking", kind, data.key)
            answer = await self._truth(kind, data)
            if not isinstance(answer, Delivered | Refused):
                raise TransientError(f"{kind} {data.key} cannot be asked about: {answer}")
            told = answer
        return "settled" if await self._settle(kind, delivery, told) else "known already"

    async def _truth(self, kind: str, data: NoticeData) -> QueryOutcome:
        """Whose money is the call's, or the notice would have been passed over."""
        ask = self._provider.charged if kind == CHARGE else self._provider.refunded
        return await ask(data.key, data.amount, data.currency)

    async def _settle(self, kind: str, delivery: Delivery, told: Settlement) -> bool:
        """As the deliverer does: lock, record, and tell if this decided it (protocol C3, M6)."""
        effects = (
            ChargesSettled(self._counters, self._charge_events, tell=self._tell)
            if kind == CHARGE
            else RefundsSettled()
        )
        async with self._ports.database.transaction() as transaction:
            unit = self._ports.unit(transaction)
            await effects.lock(unit, [delivery])
            if delivery.id not in await self._deliveries.settle(transaction, [(delivery, told)]):
                return False
            await effects.settled(unit, [(delivery, told)])
            return True


def _outcome(data: NoticeData) -> Settlement | None:
    if data.status in {"captured", "refunded"}:
        return Delivered(data.id.encode())
    if data.status == "declined":
        return Refused("payment_refused", data.reason or "Payment declined by provider")
    return None

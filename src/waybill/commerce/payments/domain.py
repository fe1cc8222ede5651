"""Payments decided purely: one row an order, at most one capture, at most one refund of it.

Cancelled and refused rows stay as tombstones, so that nothing late is ever charged (protocol M4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from waybill.commerce.contracts import (
    Line,
    OrderCancelled,
    OrderTerms,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockReserved,
)
from waybill.commerce.publication import Publication
from waybill.commerce.sku import SkuLine, sku_of, with_skus
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.core.ports import Delivery, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from waybill.commerce.contracts import Event
    from waybill.messaging.core.message import Message
    from waybill.messaging.core.unit import Received

CHARGE = "charge"
REFUND = "refund"
"""Kinds of deliveries; the key is the order's id, so that each exists once an order."""

REFERENCE_CHARS_MAX = 255

DECLINED = "Payment declined by provider"
_LATE = "The order's deadline passed before it was charged"
_CANCELLED = "The order was cancelled before it was charged"


class PaymentStatus(StrEnum):
    """PENDING becomes SUCCEEDED or FAILED; SUCCEEDED may become REFUND_PENDING, then REFUNDED.

    FAILED becomes SUCCEEDED only if the provider says afterwards that it did capture (M6).
    """

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REFUND_PENDING = "REFUND_PENDING"
    REFUNDED = "REFUNDED"


class Payment(msgspec.Struct, frozen=True):
    """The books of one order. `version` counts the events published about it.

    Amount and currency are None in the tombstone of an order that was never to be charged.
    `provider` is whose charge it is, where it is kept, `reference` what they call the capture.
    """

    order_id: UUID
    payment_id: UUID
    status: PaymentStatus
    version: int = 0
    amount: Decimal | None = None
    currency: str | None = None
    reason: Reason | None = None
    detail: str | None = None
    refund_id: UUID | None = None
    provider: str = ""
    reference: str = ""


class ChargeRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a charge's delivery carries; `items` where a capture asks for them to be held.

    With them stands the name of the provider that was to make it when it was owed.
    """

    order_id: UUID
    payment_id: UUID
    amount: Decimal
    currency: str
    items: tuple[SkuLine, ...] = ()
    not_after: datetime | None = None
    provider: str = ""


class RefundRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What a refund's delivery carries."""

    order_id: UUID
    payment_id: UUID
    refund_id: UUID
    amount: Decimal
    currency: str


class Tombstone(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a charge's delivery carries that was refused before it was owed."""

    order_id: UUID
    payment_id: UUID
    amount: Decimal | None = None
    currency: str | None = None


Charges = Callable[[object], OrderTerms | None]
"""The event as a wish for a charge, if it is one."""


def charges(event: object) -> OrderTerms | None:
    """Stock that is held is to be paid."""
    return event if isinstance(event, StockReserved) else None


def succeeded(request: ChargeRequest, reference: str) -> PaymentSucceeded:  # noqa: ARG001 - a Tell
    """With its amount, and no lines."""
    return PaymentSucceeded(
        order_id=request.order_id, payment_id=request.payment_id, amount=request.amount
    )


def refused(payment: Payment) -> PaymentFailed:
    """With its reason and amount."""
    return PaymentFailed(
        order_id=payment.order_id,
        reason=payment.reason or Reason.PAYMENT_REFUSED,
        detail=payment.detail,
        amount=payment.amount,
    )


@dataclass(frozen=True)
class ChargeEvents:
    """How a charge's end is told: a capture with the provider's reference, and a refusal.

    `with_lines`: the charge keeps the order's lines until then, and its `provider`.
    """

    captured: Callable[[ChargeRequest, str], PaymentSucceeded] = succeeded
    refused: Callable[[Payment], PaymentFailed] = refused
    with_lines: bool = False
    provider: str = ""

    def by(self, provider: str) -> ChargeEvents:
        """The same of charges that this provider makes, where its name is kept."""
        return replace(self, provider=provider) if self.with_lines else self


CHARGE_EVENTS: Final = ChargeEvents()
"""With its amount alone."""


def reference_of(result: bytes) -> str:
    """What a provider calls a capture; "" if it says nothing, or what is no short line of text.

    Cut off, it would be the name of something else.
    """
    try:
        text = result.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() and len(text) <= REFERENCE_CHARS_MAX else ""


class ChargeAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays inside their request asks so, by HTTP: it is in no topic (protocol M9)."""

    order_id: UUID
    total_amount: Decimal
    currency: str
    not_after: datetime | None = None
    items: tuple[Line, ...] = ()


def asked_over_http(event: object) -> OrderTerms | None:
    """Only who asks for it is charged."""
    return event if isinstance(event, ChargeAsked) else None


class Decision(msgspec.Struct, frozen=True):
    """What a batch changes: payments, outside calls that are owed, charges to mark as cancelled.

    `tombstones` are charges that nobody shall make, with their outcome.
    """

    payments: dict[UUID, Payment]
    deliveries: list[Delivery]
    tombstones: list[tuple[Delivery, Refused]]
    cancels: list[UUID]
    publications: list[Publication]


def decide(
    payments: Mapping[UUID, Payment],
    received: Iterable[Received],
    *,
    now: datetime,
    new_id: Callable[[], UUID],
    charges: Charges = charges,
    charge_events: ChargeEvents = CHARGE_EVENTS,
) -> Decision:
    """Decide a batch over the locked rows of its orders; other events are passed over."""
    batch = _Batch(payments, now, new_id, charge_events)
    for item in received:
        event = item.event
        if (bill := charges(event)) is not None:
            batch.charge(item.message, bill)
        elif isinstance(event, OrderCancelled):
            batch.cancel(item.message, event)
        elif isinstance(event, RefundRequested):
            batch.refund(item.message, event)
    return Decision(
        batch.written, batch.deliveries, batch.tombstones, batch.cancels, batch.publications
    )


def outcomes_of(payment: Payment) -> int:
    """How many outcomes its calls have: so many events tell of it, if none is repeated."""
    match payment.status:
        case PaymentStatus.PENDING:
            return 0
        case PaymentStatus.REFUNDED:
            return 2
        case _:
            return 1


def charge_settled(
    payment: Payment,
    settlement: Settlement,
    charge_events: ChargeEvents = CHARGE_EVENTS,
    request: Callable[[], ChargeRequest] | None = None,
) -> tuple[Payment, Publication] | None:
    """The row and the event after a charge's last outcome; None if it tells nothing new.

    `charge_events` make the event, of a capture from its `request`; without one, from the row.
    """
    if isinstance(settlement, Delivered):
        if payment.status not in (PaymentStatus.PENDING, PaymentStatus.FAILED):
            return None
        reference = reference_of(settlement.result)
        paid = _with(payment, PaymentStatus.SUCCEEDED, reference=reference)
        return _answered(paid, charge_events=charge_events, request=request)
    if payment.status is not PaymentStatus.PENDING:
        return None
    reason = _REASONS.get(settlement.reason, Reason.PAYMENT_REFUSED)
    detail = settlement.detail or _DETAILS[reason]
    failed = _with(payment, PaymentStatus.FAILED, reason=reason, detail=detail)
    return _answered(failed, charge_events=charge_events)


def refund_settled(payment: Payment, settlement: Settlement) -> tuple[Payment, Publication] | None:
    """The row and the event after a refund's last outcome.

    A refund that the provider refuses stays REFUND_PENDING, where the audit shows it (I40).
    """
    if payment.status is not PaymentStatus.REFUND_PENDING or not isinstance(settlement, Delivered):
        return None
    return _answered(_with(payment, PaymentStatus.REFUNDED))


_REASONS = {
    "cancelled": Reason.CUSTOMER_CANCELLED,
    "customer_cancelled": Reason.CUSTOMER_CANCELLED,
    "expired": Reason.DEADLINE,
    "deadline": Reason.DEADLINE,
}
_DETAILS = {
    Reason.PAYMENT_REFUSED: DECLINED,
    Reason.CUSTOMER_CANCELLED: _CANCELLED,
    Reason.DEADLINE: _LATE,
}


class _Batch:
    """The working state of one `decide`."""

    def __init__(
        self,
        payments: Mapping[UUID, Payment],
        now: datetime,
        new_id: Callable[[], UUID],
        charge_events: ChargeEvents,
    ) -> None:
        self._charge_events = charge_events
        self._before = payments
        self._now = now
        self._new_id = new_id
        self.written: dict[UUID, Payment] = {}
        self.deliveries: list[Delivery] = []
        self.tombstones: list[tuple[Delivery, Refused]] = []
        self.cancels: list[UUID] = []
        self.publications: list[Publication] = []

    def charge(self, cause: Message, bill: OrderTerms) -> None:
        """Owe a charge, or repeat the recorded answer; past the deadline nobody is charged."""
        known = self._payment(bill.order_id)
        if known is not None:
            self._repeat(cause, known, bill)
        elif bill.not_after is not None and self._now > bill.not_after:
            self._bury(cause, bill.order_id, Reason.DEADLINE, _LATE, bill)
        else:
            payment = Payment(
                bill.order_id,
                self._new_id(),
                PaymentStatus.PENDING,
                amount=bill.total_amount,
                currency=bill.currency,
                provider=self._charge_events.provider,
            )
            self.written[payment.order_id] = payment
            self._owe(cause, CHARGE, self._asked(payment, bill), bill.not_after)

    def cancel(self, cause: Message, cancelled: OrderCancelled) -> None:
        """Stop a charge that is not made yet, and refuse one that was not even asked for.

        Stock that was refused is never reserved, so nobody will ask to charge such an order.
        """
        known = self._payment(cancelled.order_id)
        if known is None:
            if cancelled.reason is not Reason.STOCK_UNAVAILABLE:
                self._bury(cause, cancelled.order_id, Reason.CUSTOMER_CANCELLED, _CANCELLED)
        elif known.status is PaymentStatus.PENDING:
            self.cancels.append(known.order_id)

    def refund(self, cause: Message, wanted: RefundRequested) -> None:
        """Give back what was captured, once; where nothing was, see to it that nothing will be."""
        known = self._payment(wanted.order_id)
        if known is None:
            self._bury(cause, wanted.order_id, Reason.CUSTOMER_CANCELLED, _CANCELLED)
        elif known.status is PaymentStatus.PENDING:
            self.cancels.append(known.order_id)
        elif known.status is PaymentStatus.SUCCEEDED:
            self._owe_refund(cause, known)
        elif known.status is not PaymentStatus.REFUND_PENDING:
            self._repeat(cause, known)

    def _payment(self, order_id: UUID) -> Payment | None:
        return self.written.get(order_id) or self._before.get(order_id)

    def _asked(self, payment: Payment, bill: OrderTerms) -> ChargeRequest:
        """With the order's lines only where a capture is told with them."""
        request = ChargeRequest(
            payment.order_id,
            payment.payment_id,
            payment.amount or bill.total_amount,
            bill.currency,
        )
        if not self._charge_events.with_lines:
            return request
        items = with_skus(bill.items, map(sku_of, bill.items))
        return msgspec.structs.replace(
            request, items=items, not_after=bill.not_after, provider=payment.provider
        )

    def _repeat(self, cause: Message, known: Payment, bill: OrderTerms | None = None) -> None:
        """PENDING ones answer when their delivery settles."""
        if known.status is not PaymentStatus.PENDING:
            request = None if bill is None else partial(self._asked, known, bill)
            payment, publication = _answered(
                known, cause, charge_events=self._charge_events, request=request
            )
            self.written[payment.order_id] = payment
            self.publications.append(publication)

    def _bury(
        self,
        cause: Message,
        order_id: UUID,
        reason: Reason,
        detail: str,
        bill: OrderTerms | None = None,
    ) -> None:
        amount, currency = (bill.total_amount, bill.currency) if bill else (None, None)
        tombstone = Payment(
            order_id,
            self._new_id(),
            PaymentStatus.FAILED,
            amount=amount,
            currency=currency,
            reason=reason,
            detail=detail,
        )
        request = Tombstone(tombstone.order_id, tombstone.payment_id, amount, currency)
        delivery = self._delivery(cause, CHARGE, request, None)
        self.tombstones.append((delivery, Refused(reason.value, detail)))
        self._repeat(cause, tombstone)

    def _owe_refund(self, cause: Message, known: Payment) -> None:
        if known.amount is None or known.currency is None:
            raise AssertionError("a captured payment has an amount")
        refund_id = self._new_id()
        self.written[known.order_id] = _with(
            known, PaymentStatus.REFUND_PENDING, refund_id=refund_id
        )
        request = RefundRequest(
            known.order_id, known.payment_id, refund_id, known.amount, known.currency
        )
        self._owe(cause, REFUND, request, None)

    def _owe(
        self,
        cause: Message,
        kind: str,
        request: ChargeRequest | RefundRequest,
        not_after: datetime | None,
    ) -> None:
        self.deliveries.append(self._delivery(cause, kind, request, not_after))

    def _delivery(
        self,
        cause: Message,
        kind: str,
        request: ChargeRequest | RefundRequest | Tombstone,
        not_after: datetime | None,
    ) -> Delivery:
        return Delivery(
            id=self._new_id(),
            kind=kind,
            key=str(request.order_id),
            request=_ENCODER.encode(request),
            not_after=not_after,
            correlation_id=cause.correlation_id,
            causation_id=cause.id,
            traceparent=cause.traceparent,
        )


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _answered(
    payment: Payment,
    cause: Message | None = None,
    *,
    charge_events: ChargeEvents = CHARGE_EVENTS,
    request: Callable[[], ChargeRequest] | None = None,
) -> tuple[Payment, Publication]:
    """The event that tells this row's state, and the row that counts it."""
    version = payment.version + 1
    event: Event
    if payment.status is PaymentStatus.FAILED:
        event = charge_events.refused(payment)
    elif payment.amount is None:
        raise AssertionError("a captured payment has an amount")
    elif payment.status is PaymentStatus.REFUNDED and payment.refund_id is not None:
        event = PaymentRefunded(
            order_id=payment.order_id,
            payment_id=payment.payment_id,
            amount=payment.amount,
            refund_id=payment.refund_id,
        )
    elif request is not None:
        event = charge_events.captured(request(), payment.reference)
    else:
        event = PaymentSucceeded(
            order_id=payment.order_id, payment_id=payment.payment_id, amount=payment.amount
        )
    counted = msgspec.structs.replace(payment, version=version)
    return counted, Publication(event, version, cause)


def _with(
    payment: Payment,
    status: PaymentStatus,
    *,
    reason: Reason | None = None,
    detail: str | None = None,
    refund_id: UUID | None = None,
    reference: str = "",
) -> Payment:
    return msgspec.structs.replace(
        payment,
        status=status,
        reason=reason,
        detail=detail,
        refund_id=refund_id or payment.refund_id,
        reference=reference or payment.reference,
    )

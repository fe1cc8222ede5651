"""The payment service over HTTP, as the deliverer calls it: each answer becomes an Outcome (M6).

What may have been charged is Unknown, and asked about before it is called again. So is other money
than was asked for: the order's id is the key, and others may have used it.
"""

from __future__ import annotations

from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.charging import CHARGE_PATH, DEADLINE_HEADER, PAYMENTS_PATH, Charged
from waybill.commerce.http.client import NoAnswerError, NotSentError, OutsideClient
from waybill.commerce.orders.paying import charge_of
from waybill.messaging.core.outcome import Delivered, Failed, NotFound, Refused, Unknown

if TYPE_CHECKING:
    from waybill.commerce.charging import Charge
    from waybill.commerce.http.client import Answer, ClientSettings
    from waybill.messaging.core.outcome import Outcome, QueryOutcome
    from waybill.messaging.core.ports import Delivery

DETAIL_CHARS_MAX = 200
PENDING_SECONDS = 1.0
"""How long until it is asked again about a charge that the provider has not decided."""
_CAPTURED = {"SUCCEEDED", "REFUND_PENDING", "REFUNDED"}
# 409: the order was charged with another amount (C31).
_OPEN = {HTTPStatus.CONFLICT, HTTPStatus.REQUEST_TIMEOUT}


class _Complaint(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""


class _Known(msgspec.Struct, frozen=True):
    """A payment, as the payment service lists it."""

    id: str
    status: str
    amount: Decimal | None = None
    currency: str | None = None
    reason: str | None = None
    detail: str | None = None


class _Payments(msgspec.Struct, frozen=True):
    items: tuple[_Known, ...]


_charged = msgspec.json.Decoder(Charged).decode
_complaint = msgspec.json.Decoder(_Complaint).decode
_payments = msgspec.json.Decoder(_Payments).decode


class PaymentClient:
    """Calls and asks the payment service. `close` it at the end."""

    def __init__(self, settings: ClientSettings) -> None:
        self._client = OutsideClient(settings)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def call(self, delivery: Delivery) -> Outcome:
        """One attempt to have the order charged."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": delivery.key,
            **({"traceparent": delivery.traceparent} if delivery.traceparent else {}),
        }
        if delivery.not_after is not None:
            headers[DEADLINE_HEADER] = delivery.not_after.isoformat()
        try:
            answer = await self._client.send("POST", CHARGE_PATH, delivery.request, headers)
        except NotSentError as error:
            return Failed(str(error), counts=error.counts)
        except NoAnswerError as error:
            return Unknown(str(error))
        return _told(answer, charge_of(delivery.request))

    async def query(self, delivery: Delivery) -> QueryOutcome:
        """What became of it."""
        try:
            answer = await self._client.send("GET", f"{PAYMENTS_PATH}?orderId={delivery.key}")
        except (NotSentError, NoAnswerError) as error:
            return Failed(str(error), counts=False)
        if answer.status != HTTPStatus.OK:
            wait = answer.retry_after_seconds
            return Failed(_said(answer.status), counts=False, retry_after_seconds=wait)
        try:
            known = _payments(answer.body).items
        except msgspec.MsgspecError as error:
            return Failed(f"the payment service's answer cannot be read: {error}", counts=False)
        return _state(known[0], charge_of(delivery.request)) if known else NotFound()


def _told(answer: Answer, asked: Charge) -> Outcome:
    status = answer.status
    try:
        if status == HTTPStatus.OK:
            charged = _charged(answer.body)
            return _captured(str(charged.payment_id), (charged.amount, charged.currency), asked)
        if status == HTTPStatus.PAYMENT_REQUIRED:
            complaint = _complaint(answer.body)
            return Refused(complaint.code, complaint.detail[:DETAIL_CHARS_MAX])
    except msgspec.MsgspecError as error:
        return Unknown(f"the payment service's answer cannot be read: {error}")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failed(_said(status), retry_after_seconds=answer.retry_after_seconds)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _OPEN:
        return Unknown(_said(status))
    return Failed(f"{_said(status)}: check WAYBILL_PAYMENT_URL")


def _captured(
    payment_id: str, money: tuple[Decimal | None, str | None], asked: Charge
) -> Delivered | Unknown:
    """A capture of so much; one of other money is an operator's (as PaymentProvider.charged)."""
    if money != (asked.amount, asked.currency):
        told = f"{money[0]} {money[1]}"
        return Unknown(f"told of {told[:40]} in place of {asked.amount} {asked.currency}")
    return Delivered(payment_id.encode())


def _state(known: _Known, asked: Charge) -> QueryOutcome:
    if known.status in _CAPTURED:
        return _captured(known.id, (known.amount, known.currency), asked)
    if known.status == "FAILED":  # whatever it was about, nothing moved, and nothing will
        return Refused(known.reason or "payment_refused", (known.detail or "")[:DETAIL_CHARS_MAX])
    wait = PENDING_SECONDS
    return Failed("the provider has not decided yet", counts=False, retry_after_seconds=wait)


def _said(status: int) -> str:
    return f"the payment service answered {status}"

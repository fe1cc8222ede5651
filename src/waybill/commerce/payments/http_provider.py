"""A payment provider over HTTP (docs/library/payment-provider.md): each answer becomes an Outcome.

What may have moved money is Unknown, whatever went wrong; Failed is only what surely never got
there (protocol M6). The deliverer adds breaker, backoff and questions about unknown calls.
"""

from __future__ import annotations

from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from waybill.commerce.http.client import NoAnswerError, NotSentError, OutsideClient
from waybill.messaging.core.outcome import Delivered, Failed, NotFound, Refused, Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from waybill.commerce.http.client import Answer, ClientSettings
    from waybill.messaging.core.outcome import Outcome, QueryOutcome

CHARGES, REFUNDS = "/charges", "/refunds"
DEFAULT_NAME = "http"
DETAIL_CHARS_MAX = 200
_SERVER_ERRORS = HTTPStatus.INTERNAL_SERVER_ERROR


class _Money(NamedTuple):
    """What a call is about."""

    amount: Decimal
    currency: str


class _Movement(msgspec.Struct, frozen=True):
    """What the provider says of a charge or a refund."""

    id: str
    status: str
    amount: Decimal
    currency: str
    reason: str = ""


class _Complaint(msgspec.Struct, frozen=True):
    """What the provider says with a 4xx."""

    code: str = ""
    detail: str = ""


_movement = msgspec.json.Decoder(_Movement).decode
_complaint = msgspec.json.Decoder(_Complaint).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

_ANSWERED = {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED}
_DONE = {"captured", "refunded"}
_REFUSING = {HTTPStatus.BAD_REQUEST, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.UNPROCESSABLE_ENTITY}
# 409 is "the key is in use" (M6).
_OPEN = {HTTPStatus.CONFLICT, HTTPStatus.REQUEST_TIMEOUT}


class HttpProvider:
    """A `PaymentProvider` that speaks the documented REST contract. `close` it at the end."""

    def __init__(self, settings: ClientSettings, *, name: str = DEFAULT_NAME) -> None:
        self.name = name
        self._client = OutsideClient(settings)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def charge(self, key: str, amount: Decimal, currency: str, order_id: UUID) -> Outcome:
        """See PaymentProvider."""
        asked = {"orderId": order_id, "amount": amount, "currency": currency}
        return await self._move(CHARGES, key, _Money(amount, currency), asked)

    async def refund(self, key: str, charge_key: str, amount: Decimal, currency: str) -> Outcome:
        """See PaymentProvider."""
        asked = {"chargeKey": charge_key, "amount": amount, "currency": currency}
        return await self._move(REFUNDS, key, _Money(amount, currency), asked)

    async def charged(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """See PaymentProvider."""
        return await self._ask(CHARGES, key, _Money(amount, currency))

    async def refunded(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """See PaymentProvider."""
        return await self._ask(REFUNDS, key, _Money(amount, currency))

    async def _move(
        self, path: str, key: str, wanted: _Money, asked: Mapping[str, object]
    ) -> Outcome:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            answer = await self._client.send("POST", path, _encode(asked), headers)
        except NotSentError as error:
            return Failed(f"payment provider not reached: {error}", counts=error.counts)
        except NoAnswerError as error:
            return Unknown(f"no answer from the payment provider: {error}")
        return _moved(answer, wanted)

    async def _ask(self, path: str, key: str, wanted: _Money) -> QueryOutcome:
        try:
            answer = await self._client.send("GET", f"{path}/{quote(key, safe='')}")
        except (NotSentError, NoAnswerError) as error:
            return Failed(f"payment provider not reached: {error}", counts=False)
        return _asked(answer, wanted)


def _moved(answer: Answer, wanted: _Money) -> Outcome:
    """What follows from the answer to a charge or a refund."""
    status = answer.status
    if status in _ANSWERED:
        return _told(answer, wanted)
    if status in _REFUSING:
        complaint = _complained(answer)
        reason = "payment_refused" if status == HTTPStatus.PAYMENT_REQUIRED else complaint.code
        return Refused(reason or "invalid_request", complaint.detail[:DETAIL_CHARS_MAX])
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failed(_answered(status), retry_after_seconds=answer.retry_after_seconds)
    if status in _OPEN or status >= _SERVER_ERRORS:
        return Unknown(_answered(status))
    return Failed(_misconfigured(status))


def _asked(answer: Answer, wanted: _Money) -> QueryOutcome:
    """What follows from the answer to a question."""
    status = answer.status
    if status in _ANSWERED:
        return _told(answer, wanted)
    if status == HTTPStatus.NOT_FOUND and _complained(answer).code == "not_found":
        return NotFound()  # a 404 of anything between us says nothing about the key
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= _SERVER_ERRORS:
        wait = answer.retry_after_seconds
        return Failed(_answered(status), counts=False, retry_after_seconds=wait)
    return Failed(_misconfigured(status), counts=False)


def _told(answer: Answer, wanted: _Money) -> Outcome:
    """What a movement says; one of other money than was asked is believed in nothing."""
    try:
        movement = _movement(answer.body)
    except msgspec.MsgspecError as error:
        return Unknown(f"the payment provider's answer cannot be read: {error}")
    if _Money(movement.amount, movement.currency) != wanted:
        told = f"{movement.amount} {movement.currency}"
        return Unknown(f"told of {told[:40]} in place of {wanted.amount} {wanted.currency}")
    if movement.status in _DONE:
        return Delivered(movement.id.encode())
    if movement.status == "declined":
        detail = movement.reason or "Payment declined by provider"
        return Refused("payment_refused", detail[:DETAIL_CHARS_MAX])
    return Unknown(f"the payment provider says {movement.status[:40]!r}")


def _complained(answer: Answer) -> _Complaint:
    try:
        return _complaint(answer.body)
    except msgspec.MsgspecError:
        return _Complaint()


def _answered(status: int) -> str:
    return f"the payment provider answered {status}"


def _misconfigured(status: int) -> str:
    return f"the payment provider answered {status}: check its URL and token"

"""HTTP of charges inside somebody's request: POST /api/checkout/charge (contracts C31)."""

from datetime import datetime
from typing import Protocol

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from waybill.commerce.charging import CHARGE_PATH, DEADLINE_HEADER, Charge, Charged, is_amount
from waybill.commerce.contracts import Reason
from waybill.commerce.http.body import read_body
from waybill.commerce.http.negotiation import idempotency_key, require_json_content
from waybill.commerce.http.problem import FieldError, Problem, invalid
from waybill.commerce.http.surface import Surface, answers, json_answer, refuses, takes
from waybill.commerce.http.trace import traceparent_of
from waybill.commerce.payments.domain import ChargeAsked, Payment, PaymentStatus

RETRY_AFTER_SECONDS = 1
_charge = msgspec.json.Decoder(Charge).decode


class Charges(Protocol):
    """Where charges are asked for."""

    async def charge(self, asked: ChargeAsked, *, traceparent: str) -> Payment:
        """The payment, decided or after a wait. May be repeated. Raises TransientError."""


def charge_surface(charges: Charges) -> Surface:
    """The one route that the order service calls."""
    router = APIRouter(tags=["payments"])

    @router.post(
        CHARGE_PATH,
        operation_id="chargeOrder",
        summary="Charge an order, once; the answer waits for the provider",
        description="The Idempotency-Key is the order's id.",
        openapi_extra=takes(Charge),
        responses={
            **answers(200, Charged, "The money was captured, now or before"),
            **refuses(
                _400="The body or the key is not valid",
                _402="Nothing was captured, and nothing will be; `code` says why",
                _409="The order was charged with another amount",
                _503="Not decided yet: ask again with the same key",
            ),
        },
    )
    async def charge(request: Request) -> Response:
        asked = await _asked(request)
        payment = await charges.charge(asked, traceparent=traceparent_of(request.scope))
        return _answered(asked, payment)

    return Surface(routes=router.routes, structs=[Charge, Charged])


async def _asked(request: Request) -> ChargeAsked:
    headers = dict(request.scope["headers"])
    require_json_content(headers.get(b"content-type"))
    body = await read_body(request.receive, headers.get(b"content-length"))
    key = idempotency_key([v for n, v in request.scope["headers"] if n == b"idempotency-key"])
    try:
        wanted = _charge(body)
        text = request.headers.get(DEADLINE_HEADER)
        not_after = datetime.fromisoformat(text) if text else None
    except (msgspec.MsgspecError, ValueError) as error:
        raise invalid([FieldError(str(error)[:200])]) from None
    if key != str(wanted.order_id):
        raise invalid([FieldError("must be the order's id", header="Idempotency-Key")])
    if not is_amount(wanted.amount) or (not_after is not None and not_after.tzinfo is None):
        raise invalid([FieldError("amount or deadline is out of range")])
    return ChargeAsked(
        order_id=wanted.order_id,
        total_amount=wanted.amount,
        currency=wanted.currency,
        not_after=not_after,
    )


def _answered(asked: ChargeAsked, payment: Payment) -> Response:
    if payment.status is PaymentStatus.PENDING:
        raise Problem(
            *(503, "payment_pending", "The provider has not decided yet"),
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            order_id=str(payment.order_id),
        )
    if payment.status is PaymentStatus.FAILED:
        code = (payment.reason or Reason.PAYMENT_REFUSED).value
        detail = payment.detail or "Nothing was captured"
        raise Problem(402, code, detail, order_id=str(payment.order_id))
    if (payment.amount, payment.currency) != (asked.total_amount, asked.currency):
        raise Problem(409, "idempotency_key_reused", "The order was charged with another amount")
    return json_answer(
        Charged(
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            amount=asked.total_amount,
            currency=asked.currency,
            status=payment.status.value,
        )
    )

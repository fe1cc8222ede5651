"""HTTP of the provider's webhooks: signature first, then the body, then an answer without one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from waybill.commerce.http.body import read_body
from waybill.commerce.http.problem import Problem
from waybill.commerce.http.surface import Surface, refuses
from waybill.commerce.payments.notices import Notice
from waybill.commerce.payments.webhook import WebhookRefusedError, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from waybill.commerce.payments.notices import ProviderNotices
    from waybill.commerce.payments.webhook import WebhookSettings

PATH = "/api/payments/webhook"
logger = logging.getLogger(__name__)

_notice = msgspec.json.Decoder(Notice).decode


def webhook_surface(
    notices: ProviderNotices, settings: WebhookSettings, *, now: Callable[[], datetime]
) -> Surface:
    """The one route that the provider calls."""
    router = APIRouter(tags=["payments"])

    @router.post(
        PATH,
        operation_id="takePaymentWebhook",
        summary="What the payment provider tells unasked, signed as Standard Webhooks say",
        status_code=204,
        responses={
            **refuses(
                _400="The body is no notice",
                _401="The signature does not fit, or is too old",
                _503="It cannot be stored now: send it again",
            ),
        },
    )
    async def take(request: Request) -> Response:
        length = request.headers.get("content-length")
        body = await read_body(request.receive, length.encode() if length else None)
        try:
            name = verify(request.headers, body, settings, now=now())
        except WebhookRefusedError as error:
            logger.warning("a webhook was refused: %s", error)
            raise Problem(401, "webhook_refused", "The signature does not fit") from None
        try:
            done = await notices.take(_notice(body))
        except msgspec.MsgspecError:
            logger.warning("webhook %s has a valid signature and no readable notice", name)
            raise Problem(400, "invalid_notice", "The body is no notice") from None
        logger.info("webhook %s: %s", name, done)
        return Response(status_code=204)

    return Surface(routes=router.routes)

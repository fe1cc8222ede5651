"""The receiving end of POST /notify (seed 000): any JSON object, taken once a message id."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from waybill.commerce.http.body import read_body
from waybill.commerce.http.negotiation import require_json_content
from waybill.commerce.http.problem import FieldError, invalid
from waybill.commerce.http.strict_json import decode
from waybill.commerce.http.surface import Surface, refuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.messaging.runtime.ports import ServicePorts

PATH = "/notify"
RECEIVER = "notify-receiver"
"""Its name in the inbox, where a message id stands once."""

KEY_CHARS_MAX = 255
_KEYS = UUID("6f1f6a0e-6a0a-4d0e-9d7e-0e7a3b8c5d21")
"""Namespace of ids made from keys that are none."""

logger = logging.getLogger(__name__)


class ReceivedNotices:
    """Takes notices: a message id is claimed in the inbox, so that a repeat does nothing."""

    def __init__(self, ports: ServicePorts, tell: Callable[[bytes], None] | None = None) -> None:
        self._ports = ports
        self._tell = tell or _log

    async def take(self, key: str | None, body: bytes) -> bool:
        """Whether it is new; told after the commit. Without a key each one is new.

        Raises TransientError, OutcomeUnknownError: the sender is to repeat it.
        """
        message_id = _message_id(key) if key else self._ports.new_id()
        async with self._ports.database.transaction() as transaction:
            claimed = await self._ports.inbox.claim(transaction, RECEIVER, [message_id])
            if claimed:
                transaction.on_commit(lambda: self._tell(body))
        return bool(claimed)


def notify_surface(notices: ReceivedNotices) -> Surface:
    """The one route of the receiver."""
    router = APIRouter(tags=["notifications"])

    @router.post(
        PATH,
        operation_id="notify",
        summary="Take a notification, once an Idempotency-Key; a repeat is answered alike",
        response_class=PlainTextResponse,
        responses=refuses(
            _400="The body is no JSON object", _413="The body is too large", _415="Not JSON"
        ),
    )
    async def notify(request: Request) -> Response:
        require_json_content(request.headers.get("content-type", "").encode("latin-1"))
        length = request.headers.get("content-length")
        body = await read_body(request.receive, length.encode() if length else None)
        if not isinstance(decode(body), dict):
            raise invalid([FieldError("must be a JSON object", pointer="#")])
        key = request.headers.get("idempotency-key", "").strip().strip('"')
        if len(key) > KEY_CHARS_MAX:
            raise invalid(
                [FieldError(f"has over {KEY_CHARS_MAX} characters", header="Idempotency-Key")]
            )
        new = await notices.take(key or None, body)
        headers = {} if new else {"Idempotent-Replayed": "true"}
        return PlainTextResponse("Notified successfully", headers=headers)

    return Surface(routes=router.routes)


def _message_id(key: str) -> UUID:
    try:
        return UUID(key)
    except ValueError:
        return uuid5(_KEYS, key)


def _log(body: bytes) -> None:
    logger.info("notified (%d bytes)", len(body))

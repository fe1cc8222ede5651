"""A payment provider over HTTP (docs/library/payment-provider.md): each answer becomes an Outcome.

What may have moved money is Unknown, whatever went wrong; Failed is only what surely never got
there (protocol M6). The deliverer adds breaker, backoff and questions about unknown calls.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from waybill.commerce.http.retry_after import retry_after_seconds
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.outcome import Delivered, Failed, NotFound, Refused, Unknown

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.outcome import Outcome, QueryOutcome

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DETAIL_CHARS_MAX = 200


@dataclass(frozen=True, kw_only=True)
class HttpProviderSettings:
    """Where the provider is, and every limit. `token` goes out as a bearer token.

    `timeout_seconds` is for a whole request, below the deliverer's own time-out.
    """

    url: str
    token: str = field(default="", repr=False)
    connect_seconds: float = 1.0
    timeout_seconds: float = 4.0
    pool_wait_seconds: float = 1.0
    connections_max: int = 64
    answer_bytes_max: int = 65_536
    ca_file: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise ConfigurationError(
                f"payment provider URL {self.url!r}: give http(s)://host[:port][/path]"
            )
        if parts.scheme == "http" and self.token and parts.hostname not in LOOPBACK:
            raise ConfigurationError(
                f"payment provider URL {self.url}: a token is not sent without TLS, use https"
            )
        if not 0 < self.connect_seconds <= self.timeout_seconds:
            raise ConfigurationError("connect_seconds must be above 0, at most timeout_seconds")
        if self.connections_max < 1 or self.answer_bytes_max < 1:
            raise ConfigurationError("connections_max and answer_bytes_max are at least 1")


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


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    retry_after_seconds: float | None


_movement = msgspec.json.Decoder(_Movement, strict=True).decode
_complaint = msgspec.json.Decoder(_Complaint).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

_DONE = {"captured", "refunded"}
_REFUSING = {HTTPStatus.BAD_REQUEST, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.UNPROCESSABLE_ENTITY}
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)


class HttpProvider:
    """A `PaymentProvider` that speaks the documented REST contract. `close` it at the end."""

    def __init__(self, settings: HttpProviderSettings) -> None:
        self._settings = settings
        # Neither redirects nor proxies of the environment: the address is ours alone to choose.
        self._client = httpx2.AsyncClient(
            base_url=settings.url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {settings.token}"} if settings.token else {},
            timeout=httpx2.Timeout(
                settings.timeout_seconds,
                connect=settings.connect_seconds,
                pool=settings.pool_wait_seconds,
            ),
            limits=httpx2.Limits(max_connections=settings.connections_max),
            verify=httpx2.create_ssl_context(verify=settings.ca_file or True)
            if settings.url.startswith("https")
            else True,
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def charge(self, key: str, amount: Decimal, currency: str, order_id: UUID) -> Outcome:
        """See PaymentProvider."""
        asked = {"orderId": order_id, "amount": amount, "currency": currency}
        return await self._move("charges", key, asked, amount, currency)

    async def refund(self, key: str, charge_key: str, amount: Decimal, currency: str) -> Outcome:
        """See PaymentProvider."""
        asked = {"chargeKey": charge_key, "amount": amount, "currency": currency}
        return await self._move("refunds", key, asked, amount, currency)

    async def charged(self, key: str) -> QueryOutcome:
        """See PaymentProvider."""
        return await self._ask("charges", key)

    async def refunded(self, key: str) -> QueryOutcome:
        """See PaymentProvider."""
        return await self._ask("refunds", key)

    async def _move(
        self, path: str, key: str, asked: dict[str, object], amount: Decimal, currency: str
    ) -> Outcome:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        request = self._client.build_request("POST", path, content=_encode(asked), headers=headers)
        try:
            answer = await self._send(request)
        except httpx2.PoolTimeout:
            return Failed("every connection to the payment provider is in use", counts=False)
        except _NEVER_SENT as error:
            return Failed(f"payment provider not reached: {_said(error)}")
        except (httpx2.HTTPError, TimeoutError) as error:
            return Unknown(f"no answer from the payment provider: {_said(error)}")
        return _moved(answer, amount, currency)

    async def _ask(self, path: str, key: str) -> QueryOutcome:
        request = self._client.build_request("GET", f"{path}/{quote(key, safe='')}")
        try:
            answer = await self._send(request)
        except (httpx2.HTTPError, TimeoutError) as error:
            return Failed(f"payment provider not reached: {_said(error)}", counts=False)
        return _asked(answer)

    async def _send(self, request: httpx2.Request) -> _Answer:
        """The whole answer, within its time and size."""
        async with asyncio.timeout(self._settings.timeout_seconds):
            response = await self._client.send(request, stream=True)
            try:
                body = b""
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > self._settings.answer_bytes_max:
                        limit = self._settings.answer_bytes_max
                        raise httpx2.RemoteProtocolError(f"an answer of more than {limit} bytes")
            finally:
                await response.aclose()
        retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        return _Answer(response.status_code, body, retry_after)


def _moved(answer: _Answer, amount: Decimal, currency: str) -> Outcome:
    """What follows from the answer to a charge or a refund."""
    status = answer.status
    if status in {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED}:
        outcome, movement = _told(answer)
        if movement is not None and (movement.amount, movement.currency) != (amount, currency):
            told, wanted = f"{movement.amount} {movement.currency}", f"{amount} {currency}"
            return Unknown(f"the payment provider tells of {told} in place of {wanted}")
        return outcome
    if status in _REFUSING:
        complaint = _complained(answer)
        reason = "payment_refused" if status == HTTPStatus.PAYMENT_REQUIRED else complaint.code
        return Refused(reason or "invalid_request", complaint.detail[:DETAIL_CHARS_MAX])
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failed("429", retry_after_seconds=answer.retry_after_seconds)
    if status in {HTTPStatus.CONFLICT, HTTPStatus.REQUEST_TIMEOUT} or status >= 500:  # noqa: PLR2004 - 5xx
        return Unknown(f"the payment provider answered {status}")  # 409: the key is in use (M6)
    return Failed(_misconfigured(status))


def _asked(answer: _Answer) -> QueryOutcome:
    """What follows from the answer to a question."""
    if answer.status == HTTPStatus.OK:
        return _told(answer)[0]
    if answer.status == HTTPStatus.NOT_FOUND and _complained(answer).code == "not_found":
        return NotFound()  # a 404 of anything between us says nothing about the key
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500:  # noqa: PLR2004 - 5xx
        wait = answer.retry_after_seconds
        reason = f"the payment provider answered {answer.status}"
        return Failed(reason, counts=False, retry_after_seconds=wait)
    return Failed(_misconfigured(answer.status), counts=False)


def _told(answer: _Answer) -> tuple[Outcome, _Movement | None]:
    try:
        movement = _movement(answer.body)
    except msgspec.MsgspecError as error:
        return Unknown(f"the payment provider's answer cannot be read: {error}"), None
    if movement.status in _DONE:
        return Delivered(movement.id.encode()), movement
    if movement.status == "declined":
        detail = movement.reason or "Payment declined by provider"
        return Refused("payment_refused", detail[:DETAIL_CHARS_MAX]), movement
    return Unknown(f"the payment provider says {movement.status[:40]!r}"), movement


def _complained(answer: _Answer) -> _Complaint:
    try:
        return _complaint(answer.body)
    except msgspec.MsgspecError:
        return _Complaint()


def _misconfigured(status: int) -> str:
    return f"the payment provider answered {status}: check its URL and token"


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()

"""Requests to the outside: within their time and size, to one address, told apart by what is sure.

Neither redirects nor proxies of the environment are followed: the address is ours alone to choose.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import msgspec

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "::1", "localhost")
RETRY_AFTER_SECONDS_MAX = 30.0
"""An order is to end soon after a fault has healed (P1), whatever the other side proposes."""
_DIGITS_MAX = 9


class NotSentError(Exception):
    """Surely nothing reached the other side. `counts` is False if no call was even tried."""

    def __init__(self, reason: str, *, counts: bool = True) -> None:
        super().__init__(reason)
        self.counts = counts


class NoAnswerError(Exception):
    """The request may have worked: its answer is late, lost or too long."""


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """Where the other side is, and every limit. `token` goes out as a bearer token.

    `timeout_seconds` is for a whole request; keep it below the deliverer's time-out.
    `connections_max` is the bulkhead: whoever waits longer than `pool_wait_seconds` is turned away.
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
            raise ConfigurationError(f"URL {self.url!r}: give http(s)://host[:port][/path]")
        if parts.scheme == "http" and self.token and parts.hostname not in LOOPBACK:
            raise ConfigurationError(f"URL {self.url}: a token is not sent without TLS, use https")
        if not 0 < self.connect_seconds <= self.timeout_seconds:
            raise ConfigurationError("connect_seconds must be above 0, at most timeout_seconds")
        if self.connections_max < 1 or self.answer_bytes_max < 1:
            raise ConfigurationError("connections_max and answer_bytes_max are at least 1")


class Answer(msgspec.Struct, frozen=True):
    """What came back, whole."""

    status: int
    body: bytes
    retry_after_seconds: float | None = None


class OutsideClient:
    """One other side's connections. `close` it at the end."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._client = httpx2.AsyncClient(
            base_url=settings.url.rstrip("/"),
            headers={"Authorization": f"Bearer {settings.token}"} if settings.token else {},
            timeout=httpx2.Timeout(
                settings.timeout_seconds,
                connect=settings.connect_seconds,
                pool=settings.pool_wait_seconds,
            ),
            limits=httpx2.Limits(max_connections=settings.connections_max),
            verify=_trusted(settings),
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, never repeated here. Raises NotSentError, NoAnswerError."""
        request = self._client.build_request(method, path, content=body, headers=headers)
        try:
            return await self._send(request)
        except httpx2.PoolTimeout as error:
            raise NotSentError("every connection is in use", counts=False) from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NotSentError(_said(error)) from error
        except (httpx2.HTTPError, TimeoutError) as error:
            raise NoAnswerError(_said(error)) from error

    async def _send(self, request: httpx2.Request) -> Answer:
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
        wait = retry_after_seconds(response.headers.get("Retry-After"))
        return Answer(response.status_code, body, wait)


def _trusted(settings: ClientSettings) -> ssl.SSLContext | bool:
    if settings.ca_file:
        return ssl.create_default_context(cafile=settings.ca_file)
    if urlsplit(settings.url).scheme == "http":  # reading the usual certificates takes 20 ms
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return True


def retry_after_seconds(value: str | None) -> float | None:
    """Seconds to wait; None without a number. A date is not taken: their clock is not ours."""
    if value is None or not (text := value.strip()).isascii() or not text.isdigit():
        return None
    return min(float(text[:_DIGITS_MAX]), RETRY_AFTER_SECONDS_MAX)


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()

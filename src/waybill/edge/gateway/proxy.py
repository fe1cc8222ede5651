"""One request to one instance, and its answer streamed back as it comes.

A request's body is small and bounded: it is read first, so that a slow sender costs no service a
connection, and a request that surely did not leave can go to another instance.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from waybill.commerce.http.body import ClientGoneError
from waybill.edge.gateway.headers import answer_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Send

    from waybill.edge.gateway.headers import Header
    from waybill.edge.gateway.settings import GatewaySettings

_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Passing(NamedTuple):
    """A request on its way through. `target` is path and query as the client spelt them.

    `repeatable`: twice it does what it does once.
    """

    method: str
    target: str
    headers: Sequence[Header]
    body: bytes
    repeatable: bool = False


class NotSentError(Exception):
    """Surely nothing reached the instance: another one may be tried."""


class NoAnswerError(Exception):
    """The request may have worked: its answer is late or lost. `late` tells which."""

    def __init__(self, reason: str, *, late: bool) -> None:
        super().__init__(reason)
        self.late = late


class BrokenAnswerError(Exception):
    """The answer ended in its middle: the client's connection must break, too."""


class Proxy:
    """The connections to all instances. `open` inside the loop that uses them, then `close`."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the client: neither cookies, nor proxies of the environment, nor redirects."""
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=settings.connections_max,
            keepalive_timeout=settings.idle_seconds,
        )
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=settings.connect_seconds,
            sock_connect=settings.connect_seconds,
            sock_read=settings.silence_seconds,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC,
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection. May be repeated."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def begin(self, origin: str, passing: Passing) -> aiohttp.ClientResponse:
        """Send, and wait for the answer's head. Raises NotSentError, NoAnswerError."""
        if self._session is None:
            raise NotSentError("the gateway is not open")
        headers = CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in passing.headers
        )
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                return await self._session.request(
                    passing.method,
                    URL(origin + passing.target, encoded=True),
                    headers=headers,
                    data=passing.body or None,
                    allow_redirects=False,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSentError(str(error)) from error
        except TimeoutError as error:
            raise NoAnswerError("no answer in time", late=True) from error
        except aiohttp.ClientError as error:
            raise NoAnswerError(f"{type(error).__name__} {error}", late=False) from error


async def pass_on(
    answer: aiohttp.ClientResponse, receive: Receive, send: Send, more: Sequence[Header]
) -> None:
    """The answer as it comes, no faster than the client takes it.

    Raises BrokenAnswerError, and ClientGoneError once nobody reads it any more.
    """
    headers = [*answer_headers(answer.raw_headers), *more]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.content.is_eof():  # it is here whole: most are
        await send({"type": "http.response.body", "body": await _read(answer)})
        return
    streaming = asyncio.create_task(_stream(answer, send))
    gone = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({streaming, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not streaming.done():
            raise ClientGoneError
        await streaming
    finally:
        for task in (streaming, gone):
            task.cancel()
        await asyncio.gather(streaming, gone, return_exceptions=True)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    try:
        return await answer.content.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _broken(error) from error


async def _stream(answer: aiohttp.ClientResponse, send: Send) -> None:
    try:
        async for part in answer.content.iter_any():
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _broken(error) from error
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Return when the client has closed its connection: sending would not tell."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _broken(error: Exception) -> BrokenAnswerError:
    return BrokenAnswerError(f"{type(error).__name__} {error}")

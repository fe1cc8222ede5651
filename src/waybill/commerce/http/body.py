"""Reading a request's body, within bounds of size and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from waybill.commerce.http.problem import Problem

if TYPE_CHECKING:
    from starlette.types import Receive

BODY_BYTES_MAX = 65_536
BODY_SECONDS_MAX = 10.0


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete: nobody to answer."""


async def read_body(
    receive: Receive,
    content_length: bytes | None,
    *,
    bytes_max: int = BODY_BYTES_MAX,
    seconds_max: float = BODY_SECONDS_MAX,
) -> bytes:
    """The whole body. Raises Problem 413 (also for one without a length), 408; ClientGoneError."""
    # The server has parsed the length already: it is digits.
    if content_length is not None and int(content_length) > bytes_max:
        raise _too_large(bytes_max)
    try:
        async with asyncio.timeout(seconds_max):
            return await _collect(receive, bytes_max)
    except TimeoutError:
        raise Problem(
            408,
            "request_timeout",
            f"The body did not arrive within {seconds_max:g} s",
            headers={"Connection": "close"},
        ) from None


async def _collect(receive: Receive, bytes_max: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        if not message.get("more_body", False):
            return body


def _too_large(bytes_max: int) -> Problem:
    # The rest of the body is not read, so the connection cannot be used again.
    return Problem(
        413,
        "body_too_large",
        f"A body may have {bytes_max} bytes",
        headers={"Connection": "close"},
    )

"""Reading a request's body, within a bound. Its time is bounded by the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.http.problem import Problem

if TYPE_CHECKING:
    from starlette.types import Receive

BODY_BYTES_MAX = 65_536


class ClientGoneError(Exception):
    """The connection ended before its request was complete: nobody to answer."""


async def read_body(receive: Receive, content_length: bytes | None) -> bytes:
    """The whole body. Raises Problem 413, also for one without a length; ClientGoneError."""
    # The server has parsed the length already: it is digits.
    if content_length is not None and int(content_length) > BODY_BYTES_MAX:
        raise _too_large()
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise _too_large()
        if not message.get("more_body", False):
            return body


def _too_large() -> Problem:
    # The rest of the body is not read, so the connection cannot be used again.
    return Problem(
        413,
        "body_too_large",
        f"A body may have {BODY_BYTES_MAX} bytes",
        headers={"Connection": "close"},
    )

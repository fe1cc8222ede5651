"""The token of a request, and the one answer that every refused token gets (RFC 6750)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from waybill.commerce.http.problem import Problem
from waybill.edge.tokens.errors import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waybill.commerce.http.caller import Caller

logger = logging.getLogger(__name__)

_SCHEME = b"bearer "


class Verifier(Protocol):
    """What says who calls."""

    async def verify(self, token: bytes) -> Caller:
        """The caller. Raises InvalidTokenError, or TransientError: it cannot be known now."""


def unauthorized(*, given: bool) -> Problem:
    """401: one body for whatever is wrong, so that it tells a forger nothing."""
    challenge = 'Bearer error="invalid_token"' if given else "Bearer"
    return Problem(
        401,
        "unauthorized",
        "This needs a valid access token in Authorization: Bearer",
        headers={"WWW-Authenticate": challenge},
    )


def bearer_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The token; None if there is none. Raises Problem 401 for credentials that are no token."""
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        return None
    if len(given) > 1 or not given[0][: len(_SCHEME)].lower() == _SCHEME:
        raise unauthorized(given=True)
    return given[0][len(_SCHEME) :].strip(b" ")


async def caller_in(headers: Iterable[tuple[bytes, bytes]], verifier: Verifier) -> Caller | None:
    """Who calls; None if nobody says. Raises Problem 401, TransientError."""
    token = bearer_of(headers)
    if token is None:
        return None
    try:
        return await verifier.verify(token)
    except InvalidTokenError as error:
        logger.info("A token was refused: %s", error.reason)
        raise unauthorized(given=True) from None


async def require_caller(headers: Iterable[tuple[bytes, bytes]], verifier: Verifier) -> Caller:
    """Who calls. Raises Problem 401 also if nobody says, TransientError."""
    caller = await caller_in(headers, verifier)
    if caller is None:
        raise unauthorized(given=False)
    return caller

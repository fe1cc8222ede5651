"""What passes through of a message's head, and what is taken out or put in on the way.

Nothing that says who calls passes from outside: only what this gateway has verified (R043).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Header = tuple[bytes, bytes]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1: of this connection, not of the message."""

USER_ID: Final = b"x-user-id"
CORRELATION_ID: Final = b"x-correlation-id"
TRACEPARENT: Final = b"traceparent"
TRACERESPONSE: Final = b"traceresponse"
_OURS: Final = frozenset(
    {
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"tracestate",
        b"x-real-ip",
        CORRELATION_ID,
        TRACEPARENT,
    }
)
_OURS_PREFIXES: Final = (b"x-user-", b"x-forwarded-")
_CORRELATION = re.compile(rb"[!-~]{1,64}")


def _connection_options(headers: Iterable[Header]) -> set[bytes]:
    """Further names that the sender calls hop-by-hop."""
    return {
        option.strip().lower()
        for name, value in headers
        if name == b"connection"
        for option in value.split(b",")
    }


def is_reserved(name: bytes) -> bool:
    """Whether a request may not bring this: also not as `X_User_Id`, which some servers fold."""
    folded = name.replace(b"_", b"-")
    return folded in _OURS or folded.startswith(_OURS_PREFIXES)


def request_headers(
    incoming: Iterable[Header],
    *,
    subject: str | None,
    address: str,
    scheme: str,
    host: bytes,
    correlation_id: bytes,
    traceparent: str,
) -> list[Header]:
    """What goes on to the service. Names of `incoming` are in lower case."""
    given = list(incoming)
    dropped = HOP_BY_HOP | _connection_options(given)
    passed = [
        (name, value) for name, value in given if name not in dropped and not is_reserved(name)
    ]
    passed += [
        (CORRELATION_ID, correlation_id),
        (TRACEPARENT, traceparent.encode()),
        (b"x-forwarded-for", address.encode()),
        (b"x-forwarded-proto", scheme.encode()),
    ]
    if host:
        passed.append((b"x-forwarded-host", host))
    if subject is not None:
        passed.append((USER_ID, subject.encode()))
    return passed


def answer_headers(incoming: Iterable[Header]) -> list[Header]:
    """What goes back to the client; the edge puts its own trace in."""
    given = [(name.lower(), value) for name, value in incoming]
    dropped = HOP_BY_HOP | _connection_options(given) | {TRACERESPONSE, CORRELATION_ID}
    return [(name, value) for name, value in given if name not in dropped]


def accepted_correlation(headers: Iterable[Header]) -> bytes | None:
    """The client's, if it may go into logs and rows; None makes the gateway choose one."""
    for name, value in headers:
        if name == CORRELATION_ID:
            return value if _CORRELATION.fullmatch(value) else None
    return None

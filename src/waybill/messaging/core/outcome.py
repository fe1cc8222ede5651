"""What an outside call came to. Outcomes are values, so that the state machine stays data."""

from __future__ import annotations

import msgspec


class Delivered(msgspec.Struct, frozen=True, tag=True):
    """The other side did it. `result` is kept with the delivery."""

    result: bytes = b""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The other side said no and will say no again: permanent, a business answer."""

    reason: str
    detail: str = ""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Nothing happened there (connection refused, 5xx before work, breaker open): try later.

    `counts` is False when no call was made (breaker open): that spends time, not an attempt.
    """

    reason: str
    counts: bool = True
    retry_after_seconds: float | None = None


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """The call may have worked (timeout, answer lost): ask before the next attempt."""

    reason: str


class NotFound(msgspec.Struct, frozen=True, tag=True):
    """Answer of a query only: the other side has never seen this idempotency key."""


Outcome = Delivered | Refused | Failed | Unknown
QueryOutcome = Delivered | Refused | NotFound | Failed | Unknown

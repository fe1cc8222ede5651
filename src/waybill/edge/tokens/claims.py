"""What a token's claims must say, decided by a clock that is given: pure."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from waybill.commerce.http.caller import ROLES, Caller
from waybill.edge.tokens.errors import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.edge.tokens.settings import TokenSettings

SUBJECT_CHARACTERS_MAX: Final = 128


def caller_of(claims: Mapping[str, Any], settings: TokenSettings, now: float) -> Caller:
    """Who calls, at `now` (seconds of the epoch). Raises InvalidTokenError."""
    if claims.get("iss") != settings.issuer:
        raise InvalidTokenError("issuer")
    if not _names(claims.get("aud"), settings.audience):
        raise InvalidTokenError("audience")
    expires_at = _within_its_time(claims, settings, now)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX:
        raise InvalidTokenError("subject")
    if not (subject.isascii() and subject.isprintable()) or subject != subject.strip():
        raise InvalidTokenError("subject")  # it goes into a header and into logs
    return Caller(subject, _roles(claims, settings.roles_claim), expires_at)


def _within_its_time(claims: Mapping[str, Any], settings: TokenSettings, now: float) -> float:
    leeway = settings.leeway_seconds
    expires_at, issued_at = _instant(claims, "exp"), _instant(claims, "iat")
    if now >= expires_at + leeway:
        raise InvalidTokenError("expired")
    if issued_at > now + leeway or ("nbf" in claims and _instant(claims, "nbf") > now + leeway):
        raise InvalidTokenError("not_yet_valid")
    if not 0 < expires_at - issued_at <= settings.lifetime_seconds_max:
        raise InvalidTokenError("lifetime")
    return expires_at


def _instant(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise InvalidTokenError(f"{name}_missing")
    try:
        seconds = float(value)
    except OverflowError:
        raise InvalidTokenError(f"{name}_missing") from None
    if not math.isfinite(seconds):
        raise InvalidTokenError(f"{name}_missing")
    return seconds


def _names(audience: object, ours: str) -> bool:
    if isinstance(audience, list):
        return ours in audience and all(isinstance(each, str) for each in audience)
    return audience == ours


def _roles(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """Those that we know; a foreign issuer has others besides."""
    value: object = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return frozenset()
    return frozenset(role for role in value if isinstance(role, str) and role in ROLES)

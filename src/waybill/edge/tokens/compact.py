"""A token's form (RFC 7515 compact), read strictly before any key is touched (RFC 8725).

Three parts of canonical base64url, JSON objects without duplicate members, and of header members
only `alg`, `typ` and `kid`: whatever would bring its own key or ask for exceptions is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from waybill.commerce.http.problem import Problem
from waybill.commerce.http.strict_json import decode
from waybill.edge.tokens.errors import InvalidTokenError

PARTS: Final = 3
_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid"})
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PART = re.compile(rb"[A-Za-z0-9_-]+")


class Compact(msgspec.Struct, frozen=True):
    """What a token says of itself. Nothing of it is believed before its signature is verified."""

    algorithm: str
    token_type: str
    key_id: str
    claims: dict[str, Any]


def read_compact(token: bytes) -> Compact:
    """The token's parts. Raises InvalidTokenError."""
    parts = token.split(b".")
    if len(parts) != PARTS:
        raise InvalidTokenError("not_three_parts")
    header, claims, _ = (_decoded(part) for part in parts)
    members = _object(header, "header")
    if not members.keys() <= _HEADER_MEMBERS:
        raise InvalidTokenError("header_member_refused")
    algorithm, token_type, key_id = (members.get(name) for name in ("alg", "typ", "kid"))
    if not isinstance(algorithm, str) or not isinstance(token_type, str):
        raise InvalidTokenError("header_member_missing")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise InvalidTokenError("key_id_refused")
    return Compact(algorithm, token_type, key_id, _object(claims, "claims"))


def key_id_accepted(key_id: object) -> bool:
    """Whether a key of this id can be named by a token at all."""
    return isinstance(key_id, str) and _KEY_ID.fullmatch(key_id) is not None


def _decoded(part: bytes) -> bytes:
    if not _PART.fullmatch(part):
        raise InvalidTokenError("not_base64url")
    try:
        content = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        raise InvalidTokenError("not_base64url") from None
    if base64.urlsafe_b64encode(content).rstrip(b"=") != part:
        raise InvalidTokenError("not_canonical")  # a second spelling of one token
    return content


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        value = decode(content)
    except Problem:
        raise InvalidTokenError(f"{what}_not_json") from None
    if not isinstance(value, dict):
        raise InvalidTokenError(f"{what}_no_object")
    return value

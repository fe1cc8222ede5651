"""Headers of a request, read as their standards say: media types and the Idempotency-Key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waybill.commerce.http.problem import FieldError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_LENGTH_MAX = 64
"""The documents' column is VARCHAR(64)."""

_ANY_JSON = (b"*/*", b"application/json", None)
_JSON = re.compile(rb"application/(json|[!#$&^_.+a-z0-9-]+\+json)$")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_QUALITY = re.compile(rb"(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)$")
_ESCAPED = re.compile(r'\\(["\\])')


def require_json_acceptable(accept: bytes | None) -> None:
    """Raise Problem 406 unless `application/json` is acceptable (RFC 9110 section 12.5.1)."""
    if accept not in _ANY_JSON and accept and not _accepts_json(accept):
        raise Problem(406, "not_acceptable", "This resource is application/json")


def _accepts_json(accept: bytes) -> bool:
    best_rank, quality = -1, 0.0
    for item in accept.lower().split(b","):
        media_type, *parameters = (part.strip() for part in item.split(b";"))
        try:
            rank = (b"*/*", b"application/*", b"application/json").index(media_type)
        except ValueError:
            continue
        if rank > best_rank:
            best_rank, quality = rank, _quality(parameters)
    return quality > 0


def _quality(parameters: Iterable[bytes]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            return float(value) if _QUALITY.match(value.strip()) else 0.0
    return 1.0


def require_json_content(content_type: bytes | None) -> None:
    """Raise Problem 415 unless the body claims to be JSON in UTF-8."""
    if content_type == b"application/json":
        return
    media_type, *parameters = (part.strip() for part in (content_type or b"").lower().split(b";"))
    charsets = [p[8:].strip(b'" ') for p in parameters if p.startswith(b"charset=")]
    if not _JSON.match(media_type) or any(c not in (b"utf-8", b"utf8") for c in charsets):
        raise Problem(
            415,
            "unsupported_media_type",
            "Send application/json in UTF-8",
            headers={"Accept": "application/json"},
        )


def idempotency_key(values: Iterable[bytes]) -> str:
    """The key, from the header's values. Quoted (a structured-field String) and bare are one key.

    Raises Problem 400 `idempotency_key_missing` or `idempotency_key_invalid`.
    """
    distinct = {value.strip() for value in values}
    if not distinct or distinct == {b""}:
        raise _missing()
    if len(distinct) > 1:
        raise _unusable("appears more than once, with different values")
    text = distinct.pop().decode("latin-1")
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise _unusable("begins with a quote but is no structured-field String")
        text = _ESCAPED.sub(r"\1", quoted[1])
    if not text.strip():
        raise _missing()
    if len(text) > KEY_LENGTH_MAX or not _PRINTABLE.fullmatch(text):
        raise _unusable(f"must be 1 to {KEY_LENGTH_MAX} printable ASCII characters")
    return text


def _missing() -> Problem:
    detail = "Idempotency-Key header is required"
    return Problem(
        400,
        "idempotency_key_missing",
        detail,
        errors=[FieldError(detail, header="Idempotency-Key")],
    )


def _unusable(why: str) -> Problem:
    return Problem(
        400,
        "idempotency_key_invalid",
        f"Idempotency-Key {why}",
        errors=[FieldError(why, header="Idempotency-Key")],
    )

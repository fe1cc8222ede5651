"""Cursors: opaque to clients, a position in a listing ordered by id."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from waybill.commerce.http.problem import FieldError, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Identified(Protocol):
    """Anything listed: it has an id, and the listing is ordered by it."""

    @property
    def id(self) -> UUID:
        """Its id."""


IdentifiedT = TypeVar("IdentifiedT", bound=Identified)

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
_VERSION = b"\x01"


def encode_cursor(last_id: UUID) -> str:
    """The cursor that continues behind this id."""
    return base64.urlsafe_b64encode(_VERSION + last_id.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> UUID | None:
    """The id to continue behind; None at the beginning. Raises Problem 400."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if raw[:1] != _VERSION or len(raw) != 17:  # noqa: PLR2004 - the version and a UUID's 16 bytes
        raise invalid([FieldError("is not a cursor from this listing", parameter="cursor")])
    return UUID(bytes=raw[1:])


def cut_page(
    found: Sequence[IdentifiedT], limit: int
) -> tuple[tuple[IdentifiedT, ...], str | None]:
    """Of `limit + 1` rows asked for: the page, and the cursor of the next one if there is any."""
    page = tuple(found[:limit])
    return page, encode_cursor(page[-1].id) if len(found) > limit else None


def link_next(path: str, query: Mapping[str, str], cursor: str | None) -> dict[str, str]:
    """The Link header (RFC 8288) to the next page; nothing on the last one."""
    if cursor is None:
        return {}
    return {"Link": f'<{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'}

"""Cursors: opaque to clients, a position in a listing ordered by id."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

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
CURSOR_PATTERN = "^A[Q-Za-f][A-Za-z0-9_-]{20}[AEIMQUYcgkosw048]$"
"""Base64url of the version and 16 bytes of id; the last character has no stray bits."""
_VERSION = b"\x01"


def encode_cursor(last_id: UUID) -> str:
    """The cursor that continues behind this id."""
    return base64.urlsafe_b64encode(_VERSION + last_id.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> UUID | None:
    """The id to continue behind; None at the beginning. The cursor must match CURSOR_PATTERN."""
    if cursor is None:
        return None
    return UUID(bytes=base64.urlsafe_b64decode(f"{cursor}=")[1:])


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

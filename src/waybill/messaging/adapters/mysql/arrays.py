"""Arrays of all lanes as text: these servers have no column for one. Element = lane."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NUMBERS = msgspec.json.Decoder(tuple[int, ...])
_IDS = msgspec.json.Decoder(tuple[UUID | None, ...])
_TEXTS = msgspec.json.Decoder(tuple[str, ...])


def encoded(elements: Iterable[object]) -> str:
    """The text of a column."""
    return msgspec.json.encode(list(elements)).decode()


def numbers(text: str) -> tuple[int, ...]:
    """Positions."""
    return _NUMBERS.decode(text)


def ids(text: str) -> tuple[UUID | None, ...]:
    """Ids of the rows at positions."""
    return _IDS.decode(text)


def texts(text: str) -> tuple[str, ...]:
    """Topics."""
    return _TEXTS.decode(text)


def optional_numbers(text: str | None) -> Sequence[int] | None:
    """Positions that may not be there yet."""
    return None if text is None else numbers(text)

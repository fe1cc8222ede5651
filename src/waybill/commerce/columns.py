"""Arguments of set-wise statements: one array a column, none for a column without values.

The driver takes some 0.3 µs to encode an element, so what a batch shares goes as one value, and
`unnest` fills a missing array with NULLs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


def column(values: Iterable[T | None]) -> list[T | None] | None:
    """The values as an array; None if there is nothing but None."""
    collected = list(values)
    return collected if any(value is not None for value in collected) else None

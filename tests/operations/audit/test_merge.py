"""Streams side by side, and what the audit says of databases that it cannot compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.operations.audit.merge import side_by_side

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.operations.audit.rule import Found


async def rows(keys: Sequence[int], side: str) -> AsyncIterator[Found]:
    """A stream of rows with these keys."""
    for key in keys:
        yield {"key": key, "side": side}


async def joined(left: Sequence[int], right: Sequence[int]) -> list[tuple[int | None, int | None]]:
    """The keys of each pair."""
    return [
        (here["key"] if here else None, there["key"] if there else None)
        async for here, there in side_by_side(rows(left, "l"), rows(right, "r"), ("key",))
    ]


async def test_every_row_of_both_sides_comes_once() -> None:
    """Pairs meet, the others stand alone, empty sides are fine."""
    assert await joined([1, 2, 4, 5], [2, 3, 5]) == [
        (1, None),
        (2, 2),
        (None, 3),
        (4, None),
        (5, 5),
    ]
    assert await joined([], []) == []
    assert await joined([1], []) == [(1, None)]
    assert await joined([], [1, 2]) == [(None, 1), (None, 2)]


async def test_a_repeated_key_finds_no_second_partner() -> None:
    """A duplicate must not hide behind the row that it repeats."""
    assert await joined([1, 1, 2], [1, 2]) == [(1, 1), (1, None), (2, 2)]


async def test_a_side_that_descends_is_an_error() -> None:
    """A wrong order would give wrong pairs without a word."""
    with pytest.raises(ValueError, match="must ascend"):
        await joined([2, 1], [1, 2])

"""Two sorted streams side by side, whatever their length: what databases must agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.operations.audit.rule import Found


async def side_by_side(
    left: AsyncIterator[Found], right: AsyncIterator[Found], key: Sequence[str]
) -> AsyncIterator[tuple[Found | None, Found | None]]:
    """Pairs with the same key, and what only one side has: a full outer join, row by row.

    Both sides must ascend by the key's columns, as PostgreSQL sorts uuid or COLLATE "C"; of rows
    with one key the first finds its pair, the others stand alone. Raises ValueError for a side
    that descends.
    """
    here, there = _Side(left, key), _Side(right, key)
    await here.move()
    await there.move()
    while here.row is not None or there.row is not None:
        if there.row is None or (here.row is not None and here.key < there.key):
            yield here.row, None
            await here.move()
        elif here.row is None or there.key < here.key:
            yield None, there.row
            await there.move()
        else:
            yield here.row, there.row
            await here.move()
            await there.move()


class _Side:
    """One stream and its current row; None at its end."""

    def __init__(self, rows: AsyncIterator[Found], names: Sequence[str]) -> None:
        self._rows = rows
        self._names = names
        self.row: Found | None = None
        self.key: tuple[Any, ...] = ()

    async def move(self) -> None:
        self.row = await anext(self._rows, None)
        if self.row is not None:
            key = tuple([self.row[name] for name in self._names])
            if self.key and key < self.key:
                raise ValueError(f"{key} comes after {self.key}: a side must ascend")
            self.key = key

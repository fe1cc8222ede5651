"""Rows as one argument of a statement, for servers that have no arrays (MariaDB and MySQL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Table:
    """Rows to join with: `JOIN ($1) AS n`. There must be one; names as in `id, status`.

    Texts of it compare as columns of ours do, byte by byte.
    """

    __slots__ = ("names", "rows")

    def __init__(self, names: str, rows: Iterable[Sequence[object]]) -> None:
        self.names = [name.strip() for name in names.split(",")]
        self.rows = list(rows)

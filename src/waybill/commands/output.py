"""How commands show what they found: columns for people, JSON lines for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CELL_LENGTH_MAX = 120


def say(line: str) -> None:
    """One line on stdout."""
    sys.stdout.write(line + "\n")


def show(
    rows: Iterable[Mapping[str, object]], *, as_json: bool, columns: Sequence[str], none: str
) -> None:
    """Rows in aligned columns (`none` if there are none), or each as a JSON object."""
    if as_json:
        for row in rows:
            say(msgspec.json.encode(dict(row), enc_hook=str).decode())
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        say(none)
        return
    titles = [column.replace("_", " ") for column in columns]
    widths = [max(len(line[i]) for line in (titles, *cells)) for i in range(len(columns))]
    for line in (titles, *cells):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        say("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    from waybill.platform.logs import printable  # noqa: PLC0415 - keeps --help fast

    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list | frozenset):
        value = ", ".join(map(str, value))
    return printable(str(value), CELL_LENGTH_MAX)

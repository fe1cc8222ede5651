"""Statements with `$1, $2` and Python values become the text that the server gets.

Every value is written as a literal of its type, so none can change the statement around it. A list
is written without its brackets: `id IN ($1)`; a list of tuples as rows: `VALUES $1`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

from asyncmy.converters import escape_bytes_prefixed, escape_string

from waybill.messaging.core.argument_table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

HEX_BYTES_MAX = 64
"""Longer bytes are escaped one by one: half the length of hex digits."""

# What stands in quotes is text, whatever it looks like.
_PARTS = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`[^`]*`|\$(\d+)", re.DOTALL)


def seconds(value: float) -> Decimal:
    """For `INTERVAL $1 SECOND`, which takes exact numbers only."""
    return Decimal(f"{value:.6f}")


def render(statement: str, arguments: Sequence[object]) -> str:
    """The statement with its arguments in place. Raises ValueError for what is no SQL value."""
    texts, numbers = split(statement)
    if numbers and max(numbers) > len(arguments):
        raise ValueError(f"${max(numbers)} has no argument, there are {len(arguments)}")
    parts = [texts[0]]
    for number, text in zip(numbers, texts[1:], strict=True):
        parts += (literal(arguments[number - 1]), text)
    return "".join(parts)


@lru_cache(maxsize=1024)  # statements are constants
def split(statement: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts around the placeholders, and the placeholders' numbers."""
    texts, numbers, start = [], [], 0
    for match in _PARTS.finditer(statement):
        if match[1] is not None:
            texts.append(statement[start : match.start()])
            numbers.append(int(match[1]))
            start = match.end()
    texts.append(statement[start:])
    return tuple(texts), tuple(numbers)


def literal(value: object) -> str:  # noqa: C901, PLR0911 - one return a type
    """One value as SQL. A datetime must say its zone; it is written in UTC."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "1" if value else "0"
        case int():
            return str(int(value))
        case str():
            value.encode()  # a lone surrogate is no text
            return f"'{escape_string(str(value))}'"
        case bytes():
            return _bytes(value)
        case UUID():
            return f"x'{value.hex}'"
        case datetime():
            return _instant(value)
        case date():
            return f"'{value.isoformat()}'"
        case Decimal() | float():
            return _number(value)
        case list() | tuple():
            return ", ".join(_element(each) for each in value) or "NULL"
        case Table():
            return _select(value)
        case _:
            raise ValueError(f"a {type(value).__name__} is no SQL value")


def _select(table: Table) -> str:
    first, *rest = table.rows
    named = (f"{literal(value)} AS {name}" for name, value in zip(table.names, first, strict=True))
    selects = [", ".join(named), *(", ".join(map(literal, row)) for row in rest)]
    return "SELECT " + " UNION ALL SELECT ".join(selects)


def _element(value: object) -> str:
    return f"({literal(value)})" if isinstance(value, tuple) else literal(value)


def _bytes(value: bytes) -> str:
    if len(value) <= HEX_BYTES_MAX:
        return f"x'{value.hex()}'"
    return escape_bytes_prefixed(value)


def _instant(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    try:
        in_utc = value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value} is no time in UTC") from error
    return f"'{in_utc.replace(tzinfo=None).isoformat(' ', 'microseconds')}'"


def _number(value: Decimal | float) -> str:
    number = Decimal(value) if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite():
        raise ValueError(f"{value} is no number that a column can hold")
    # A float stays one: as an exact number it would be counted in other digits.
    return f"{value!r}e0" if isinstance(value, float) and "e" not in repr(value) else str(value)

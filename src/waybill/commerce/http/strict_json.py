"""Strict JSON (RFC 8259): what two parsers could read differently is refused (protocol I6).

Duplicate members, NaN and Infinity, U+0000, lone surrogates, another encoding than UTF-8, nesting
deeper than a limit: refused, each with its place. Numbers lose nothing: integers are `int` up to
40 digits, every other number is a `Decimal`.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NoReturn

from waybill.commerce.http.problem import FIELD_ERRORS_MAX, FieldError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH_MAX = 16
_INTEGER_DIGITS_MAX = 40
_DATA = re.compile(r"@|[0-9]{12}")


class _Defect:
    """Stands in the slow decoder's result where something is wrong."""

    def __init__(self, detail: str) -> None:
        self.detail = detail


class _DefectFound(Exception):  # noqa: N818 - a signal between the two decoders
    """Tells the fast decoder to give up; the slow one finds the place."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DefectFound
    return members


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _INTEGER_DIGITS_MAX else Decimal(text)


def _constant(_: str) -> NoReturn:
    raise _DefectFound


_FAST = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=Decimal,
    parse_int=_integer,
    parse_constant=_constant,
)


def _marked_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        members[name] = _Defect("appears more than once") if name in members else value
    return members


def _marked_number(text: str) -> Decimal | _Defect:
    try:
        return Decimal(text)
    except InvalidOperation:
        return _Defect("is beyond any number we accept")


_SLOW = json.JSONDecoder(
    object_pairs_hook=_marked_object,
    parse_float=_marked_number,
    parse_int=_marked_number,
    parse_constant=lambda name: _Defect(f"{name} is not a JSON number"),
)


def decode(body: bytes) -> object:
    """The value. Raises Problem 400 `malformed_json`, with the place where one can be named."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from None
    try:
        value, suspicious = _parsed(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"line {error.lineno} column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _malformed(f"nested deeper than {DEPTH_MAX}") from None
    if suspicious and (errors := list(islice(_defects(value), FIELD_ERRORS_MAX))):
        raise _malformed(f"{errors[0].pointer} {errors[0].detail}", errors)
    return value


def _parsed(text: str) -> tuple[object, bool]:
    """The value, and whether it needs a walk."""
    try:
        value: object = _FAST.decode(text)
    except (_DefectFound, InvalidOperation):
        return _SLOW.decode(text), True
    # An escape is the only way for U+0000 or half a surrogate pair into decoded text, and few
    # brackets cannot nest deep: most bodies need no walk.
    return value, "\\u" in text or text.count("{") + text.count("[") > DEPTH_MAX


def pointer(*path: str | int) -> str:
    """A JSON pointer (RFC 6901) as a URI fragment. Each name is cut to 64 characters.

    It ends before a name that looks like data: errors are kept and shown to others.
    """
    told = takewhile(lambda step: not looks_like_data(str(step)), path)
    return "#" + "".join(f"/{_escaped(step)}" for step in told)


def looks_like_data(name: str) -> bool:
    """Whether somebody put an address or a card's number where a member's name belongs."""
    return _DATA.search(name) is not None


def _escaped(step: str | int) -> str:
    if isinstance(step, int):
        return str(step)
    printable = "".join(c if c.isprintable() else "?" for c in step[:64])
    return printable.replace("~", "~0").replace("/", "~1")


def _defects(root: object) -> Iterator[FieldError]:
    pending: list[tuple[object, tuple[str | int, ...]]] = [(root, ())]
    while pending:
        value, path = pending.pop()
        if isinstance(value, _Defect):
            yield FieldError(value.detail, pointer=pointer(*path))
        elif isinstance(value, str):
            if not _storable(value):
                yield FieldError("holds U+0000 or half a surrogate pair", pointer=pointer(*path))
        elif isinstance(value, dict | list):
            if len(path) >= DEPTH_MAX:
                yield FieldError(f"is nested deeper than {DEPTH_MAX}", pointer=pointer(*path))
                continue
            steps = value.items() if isinstance(value, dict) else enumerate(value)
            for step, member in steps:
                if isinstance(step, str) and not _storable(step):
                    yield FieldError(
                        "has a member name with U+0000 or half a surrogate pair",
                        pointer=pointer(*path),
                    )
                pending.append((member, (*path, step)))


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _malformed(detail: str, errors: list[FieldError] | None = None) -> Problem:
    found = errors or [FieldError(detail, pointer="#")]
    return Problem(
        400, "malformed_json", f"The body is not acceptable JSON: {detail}", errors=found
    )

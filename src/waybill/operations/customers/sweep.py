"""Pure: takes a person's values out of texts and JSON, and leaves every other byte as it is.

Numbers keep their digits and members their order, so that what the audit compares stays equal.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ERASED: Final = "erased"
"""What stands in the place of anything personal."""
FREE: Final = frozenset({"detail", "error", "message", "text", "log_line", "subject"})
"""Members that hold sentences: whatever is known of the person is looked for in them."""
FREE_LENGTH_MIN: Final = 3
TELLING_LENGTH_MIN: Final = 6
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?')
_DIGITS: Final = re.compile(r"\d")
_SPACE: Final = re.compile(r"\s")


@dataclass(frozen=True)
class Personal:
    """Values of one person, and the members of events that a document puts such values into."""

    values: frozenset[str]
    members: frozenset[str] = frozenset()

    @property
    def telling(self) -> frozenset[str]:
        """Those that cannot be a word of ours: addresses, numbers, several words."""
        return frozenset(
            each
            for each in self.values
            if len(each) >= TELLING_LENGTH_MIN
            and ("@" in each or _DIGITS.search(each) or _SPACE.search(each))
        )


def leaves(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from leaves(each)
        case list():
            for each in value:
                yield from leaves(each)
        case _:
            pass


def swept_text(text: str, personal: Personal) -> str:
    """A sentence without the person."""
    return _without(text, personal.values, FREE_LENGTH_MIN)


def swept_json(text: str, personal: Personal) -> str:
    """A JSON text without the person. It need not be valid: strings are looked at one by one."""
    member = ""

    def looked_at(found: re.Match[str]) -> str:
        nonlocal member
        token, colon = found.group(), found.group(1)
        try:
            said = json.loads(token.removesuffix(colon or ""), strict=False)
        except ValueError:
            return token
        if colon is not None:
            member = said
            return token
        left = _left(said, member, personal)
        return token if left == said else json.dumps(left, ensure_ascii=False)

    return _STRING.sub(looked_at, text)


def swept_bytes(data: bytes, personal: Personal) -> bytes:
    """The same of a message's bytes; what is no text is read as if each byte were a letter."""
    try:
        return swept_json(data.decode(), personal).encode()
    except UnicodeDecodeError:
        return swept_json(data.decode("latin-1"), personal).encode("latin-1")


def _left(said: str, member: str, personal: Personal) -> str:
    if member in personal.members:
        return ERASED
    if member in FREE:
        return swept_text(said, personal)
    return _without(said, personal.telling, TELLING_LENGTH_MIN)


def _without(text: str, values: frozenset[str], length_min: int) -> str:
    wanted = sorted((each for each in values if len(each) >= length_min), key=len, reverse=True)
    if not wanted:
        return text
    return re.sub("|".join(map(re.escape, wanted)), ERASED, text, flags=re.IGNORECASE)

"""Asks the server to run a prepared statement, in bytes that go in front of another message.

Without a Sync behind them: if the statement fails, the server passes over everything up to the
next one's, so what follows is not run, and answers once. Arguments and answer are in text.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

# PostgreSQL's protocol 3.0: type, length (itself included), content. Execute the unnamed portal.
_EXECUTE = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"
_NULL = struct.pack("!i", -1)
_LENGTH_BYTES = 4


def bind_and_execute(name: str, arguments: Sequence[object]) -> bytes:
    """The messages Bind and Execute for the statement that was prepared under this name.

    Raises TypeError for an argument that is no text, whole number, UUID, None or list of those.
    """
    content = b"".join(
        (
            b"\x00",
            name.encode(),
            b"\x00",
            struct.pack("!hh", 0, len(arguments)),
            *map(_parameter, arguments),
            b"\x00\x00",
        )
    )
    return b"B" + struct.pack("!i", _LENGTH_BYTES + len(content)) + content + _EXECUTE


def _parameter(value: object) -> bytes:
    if value is None:
        return _NULL
    text = f"{{{','.join(map(_element, value))}}}" if isinstance(value, list) else _text(value)
    data = text.encode()
    return struct.pack("!i", len(data)) + data


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, str | int | UUID) and not isinstance(value, bool):
        return str(value)
    message = f"a statement cannot go ahead with an argument of type {type(value).__name__}"
    raise TypeError(message)

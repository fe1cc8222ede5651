"""A client's history: what it asked and what it was told, one JSON line a request.

The writer gathers lines and writes whole ones only; the reader holds one line at a time, whatever
the file's size. The format is documented in docs/history.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

import msgspec

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Operation = Literal["place", "cancel"]
Outcome = Literal["ok", "fail", "info"]

WRITE_BYTES: Final = 65_536
"""Lines are gathered up to this size, then written at once."""
LINE_BYTES_MAX: Final = 65_536
"""A longer line is no line of a history."""
NOTHING_DONE: Final = frozenset({"overloaded", "unavailable"})
"""Codes of a 503 that says nothing was done."""
_UNAVAILABLE: Final = 503


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """One request and its answer. A repeated request is an entry of its own."""

    at: datetime
    """When it was meant to be sent."""
    operation: Operation
    scope: str
    """The caller, as the intake keeps it with the key."""
    key: str | None
    customer_id: str | None
    payload_hash: str | None
    status: int | None
    """None: no answer came."""
    outcome: Outcome
    order_id: str | None
    body_hash: str | None
    seconds: float
    """From `at` to the end of the answer."""


class _Refusal(msgspec.Struct):
    code: str = ""


def hash_of(content: bytes) -> str:
    """SHA-256 in lower-case hex, as entries have it."""
    return sha256(content).hexdigest()


def outcome_of(status: int, body: bytes) -> Outcome:
    """What an answer says about what was done.

    Only a 5xx that does not say that nothing was done leaves it open.
    """
    if status < 300:  # noqa: PLR2004 - RFC 9110, section 15: the classes of a status
        return "ok"
    if status < 500:  # noqa: PLR2004 - as above
        return "fail"
    if status == _UNAVAILABLE and _code(body) in NOTHING_DONE:
        return "fail"
    return "info"


def _code(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Refusal).code
    except msgspec.MsgspecError:
        return ""


def instant(unix_seconds: float) -> datetime:
    """An entry's `at` from a Unix time."""
    return datetime.fromtimestamp(unix_seconds, UTC)


class History(Protocol):
    """Whoever hears of each request and its answer."""

    def write(self, entry: Entry) -> None:
        """One request has its answer, or will never have one."""


class HistoryWriter:
    """Appends entries to a file of its own. Not for concurrent use; close it, or use `with`.

    An entry is in the file at the latest when the writer is closed; a process that is killed may
    lose the last entries, never a part of the file's middle.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise ConfigurationError(
                f"the history {path} cannot be written: {error.strerror}"
            ) from error
        self._encoder = msgspec.json.Encoder()
        self._lines = bytearray()
        self.entries = 0

    def write(self, entry: Entry) -> None:
        """Add one entry. Blocks for a write of the gathered lines now and then."""
        self._lines += self._encoder.encode(entry)
        self._lines += b"\n"
        self.entries += 1
        if len(self._lines) >= WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand the gathered lines to the file. Raises OSError, for instance on a full disk."""
        while self._lines:  # an unbuffered write may take less than it was given
            del self._lines[: self._file.write(self._lines)]

    def close(self) -> None:
        """Write what is left. May be repeated."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_history(path: Path) -> Iterator[Entry]:
    """The entries in the file's order, one at a time.

    A last line that was cut off is left out: its writer was killed. Raises ConfigurationError that
    names any other line which is no entry, and if the file cannot be read.
    """
    decoder = msgspec.json.Decoder(Entry)
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                entry = _entry(decoder, line, f"{path}, line {number}")
                if entry is not None:
                    yield entry
    except OSError as error:
        raise ConfigurationError(f"the history {path} cannot be read: {error.strerror}") from error


def _entry(decoder: msgspec.json.Decoder[Entry], line: bytes, where: str) -> Entry | None:
    if len(line) > LINE_BYTES_MAX:
        raise ConfigurationError(f"{where}: longer than {LINE_BYTES_MAX} bytes, no history's line")
    if line.isspace():
        return None
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError as error:
        if not line.endswith(b"\n"):
            return None
        raise ConfigurationError(f"{where}: {error} (see docs/history.md)") from error

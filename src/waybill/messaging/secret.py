"""Secrets come from a variable, or from the file that `<variable>_FILE` names; from nowhere else.

A mistake is told by the variable's name. Neither what it holds nor what the file holds is shown,
nor the file's name: somebody may have put the secret itself there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = "_FILE"
BYTES_MAX: Final = 65_536
SAMPLES: Final = frozenset(
    {
        *("admin", "administrator", "change-me", "change_me", "changeit", "changeme", "default"),
        *("example", "guest", "hunter2", "letmein", "pass", "passw0rd", "password", "platform"),
        *("postgres", "qwerty", "root", "sample", "secret", "test", "todo", "token", "waybill"),
        *("12345678", "123456789", "your-password", "your_password", "xxx"),
    }
)
"""What examples, images and documents have in a secret's place, and everybody tries first."""


def value_of(environment: Mapping[str, str], variable: str) -> str:
    """What the variable or its file holds; "" if neither is set. An empty one counts as not set.

    A file's newline at its end is no part of it. Raises ConfigurationError.
    """
    given, path = environment.get(variable, ""), environment.get(variable + FILE, "").strip()
    if not path:
        return given if given.strip() else ""
    if given.strip():
        raise ConfigurationError(f"{variable} and {variable}{FILE} are both set: keep one")
    text = _read(variable + FILE, Path(path))
    if not text.strip():
        raise ConfigurationError(f"{variable}{FILE} names a file that holds nothing")
    return text


def secret_of(environment: Mapping[str, str], variable: str) -> str:
    """The same of a secret: what everybody tries first is refused, too."""
    found = value_of(environment, variable)
    if found.strip().lower() in SAMPLES:
        raise ConfigurationError(
            f"{variable} is a password that everybody tries: set one that nobody can guess"
        )
    return found


def _read(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            read = file.read(BYTES_MAX + 1)
        if len(read) > BYTES_MAX:
            raise ConfigurationError(f"{variable} names a file of more than {BYTES_MAX} bytes")
        return read.decode().rstrip("\r\n")
    except (OSError, ValueError) as error:
        # A decoder's error holds the bytes, and an error that is shown may show its cause.
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigurationError(f"{variable} cannot be read: {reason}") from None

"""The passwords of the roles: generated, kept in one file that only its owner can read.

A password is on disk before the database learns it, so that a crash between the two locks nobody
out.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_BYTES = 24


class Secrets:
    """The file `secrets.json` of a data directory. Written whole, by one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"Secrets({str(self._path)!r})"

    def password(self, role: str) -> str:
        """The role's password. Raises ConfigurationError if it has none."""
        try:
            return self._load()[role]
        except KeyError:
            raise ConfigurationError(
                f"{self._path} has no password of {role}: restore that file from a backup, "
                "or drop the data with `waybill reset`"
            ) from None

    def ensure(self, roles: list[str]) -> bool:
        """Give a password to each role that has none; whether there was one to give."""
        known = self._load()
        missing = [role for role in roles if role not in known]
        if missing:
            self._store(known | {role: secrets.token_urlsafe(_BYTES) for role in missing})
        return bool(missing)

    def _load(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except PermissionError as error:
            raise ConfigurationError(
                f"{self._path} belongs to another user: run as that user "
                "or choose another directory with --data"
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"{self._path} is damaged: restore it from a backup"
            ) from error
        return {str(role): str(password) for role, password in found.items()}

    def _store(self, passwords: dict[str, str]) -> None:
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(passwords, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        sync_directory(self._path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames in this directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

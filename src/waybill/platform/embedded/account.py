"""Which user PostgreSQL runs as: ourselves, or `nobody` for root, whom PostgreSQL refuses."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Account:
    """A user of the machine; `switch` says that we must change to it."""

    name: str
    uid: int
    gid: int
    switch: bool

    def may_enter(self, directory: Path) -> bool:
        """Whether every directory on the way lets this user through; modes only, no ACLs."""
        resolved = directory.resolve()
        return all(self._may_pass(step) for step in (resolved, *resolved.parents))

    def _may_pass(self, directory: Path) -> bool:
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        if status.st_gid == self.gid:
            return bool(status.st_mode & 0o010)
        return bool(status.st_mode & 0o001)


def server_account(cluster: Path) -> Account:
    """The owner of an existing cluster, else `nobody` for root and ourselves for others.

    Raises ConfigurationError if the cluster belongs to somebody whom we cannot become.
    """
    me = os.geteuid()
    owner = cluster.stat().st_uid if cluster.exists() else None
    if me != 0:
        if owner is not None and owner != me:
            raise ConfigurationError(
                f"{cluster} belongs to the user {_name(owner)}, not to {_name(me)}: "
                "run as that user or choose another directory with --data"
            )
        return Account(_name(me), me, os.getegid(), switch=False)
    return _unprivileged() if owner is None else _owner(cluster, owner)


def _owner(cluster: Path, uid: int) -> Account:
    if uid == 0:
        raise ConfigurationError(
            f"{cluster} belongs to root, and PostgreSQL refuses to run as root: "
            f"give it to {UNPRIVILEGED} or choose another directory with --data"
        )
    return Account(_name(uid), uid, cluster.stat().st_gid, switch=True)


def _unprivileged() -> Account:
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError as missing:
        raise ConfigurationError(
            f"this machine has no user {UNPRIVILEGED}, and PostgreSQL refuses to run as root: "
            "run waybill as an ordinary user"
        ) from missing
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

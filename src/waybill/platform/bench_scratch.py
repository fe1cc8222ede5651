"""A bench's directory for the moment: gone with it, or with the next one if it was killed.

While a bench runs it holds a lock there; a directory whose lock nobody holds is a dead one's. What
is kept for people has no lock, and is never touched.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from waybill.platform.background import holders
from waybill.platform.embedded.cluster import Cluster
from waybill.platform.embedded.lock import FileLock
from waybill.platform.embedded.processes import processes_of

PREFIX: Final = "waybill-bench-"
LOCK_NAME: Final = "bench.lock"
DATA_NAME: Final = "data"
OUTAGE_NAME: Final = "outage"
"""Where the second platform's data and history are."""


class Scratch:
    """A new directory, ours until `keep` or `remove`."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.directory.chmod(0o711)  # PostgreSQL's own user must be able to pass
        self._lock = FileLock(self.directory / LOCK_NAME)
        self._lock.acquire()

    def keep(self) -> None:
        """Leave it to people."""
        (self.directory / LOCK_NAME).unlink(missing_ok=True)
        self._lock.release()

    def remove(self) -> None:
        """Drop all that is there."""
        _drop(self.directory)
        self._lock.release()


def sweep() -> None:
    """Drop what benches left that were killed, unless their platforms still end."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_ours(directory) and (directory / LOCK_NAME).is_file():
            _sweep(directory)


def _is_ours(directory: Path) -> bool:
    """Whether nobody else can have put anything there: what a link leads to would be dropped."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    is_closed = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and is_closed


def _sweep(directory: Path) -> None:
    lock = FileLock(directory / LOCK_NAME)
    if not lock.acquire():
        return
    if not any(_is_used(data) for data in _platforms(directory)):
        _drop(directory)
    lock.release()


def _platforms(directory: Path) -> tuple[Path, Path]:
    return directory / DATA_NAME, directory / OUTAGE_NAME / DATA_NAME


def _is_used(data: Path) -> bool:
    return any(holders(data / "lock")) or bool(processes_of(Cluster(data).files))


def _drop(directory: Path) -> None:
    for data in _platforms(directory):
        Cluster(data).remove()  # it may lie elsewhere
    shutil.rmtree(directory, ignore_errors=True)

"""A disk of a few hundred megabytes, in memory, that a test may fill to the last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES = 256 * 1024


class SmallDisk:
    """A file system of its own below `directory`, and somebody else's file on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._foreign = directory / "foreign"

    @property
    def used_share(self) -> float:
        """What is written of all that fits."""
        usage = shutil.disk_usage(self.directory)
        return usage.used / usage.total

    def fill(self, share: float = 1.0) -> None:
        """Write somebody else's file until this share is used; 1.0 is to the last byte."""
        size = CHUNK_BYTES
        with self._foreign.open("ab", buffering=0) as file:
            while self.used_share < share and size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def make_room(self) -> None:
        """Delete that file."""
        self._foreign.unlink(missing_ok=True)


@contextmanager
def small_disk(directory: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount it there. Skips the test where that is not permitted."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk: run this test as root")
    directory.mkdir(mode=0o711)
    options = f"size={megabytes}m,mode=0711"
    command = ["mount", "-t", "tmpfs", "-o", options, "waybill-test", str(directory)]
    mounting = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounting.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounting.stderr.strip()}")
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()

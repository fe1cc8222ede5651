"""What decides how durable and how fast the measured platform is; shown with every figure."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

SETTINGS: Final = (
    *("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "wal_compression"),
    *("shared_buffers", "max_wal_size", "checkpoint_timeout", "commit_delay", "jit"),
)
SYNCS: Final = 20
PAGE: Final = bytes(8192)


class Durability(msgspec.Struct, frozen=True, rename="camel"):
    """Machine and settings."""

    postgres: str
    settings: dict[str, str]
    cores: int
    processor: str
    memory_bytes: int
    kernel: str
    python: str
    file_system: str
    sync_milliseconds: float
    """Median of writing a page to the data's file system and syncing it."""

    @property
    def line(self) -> str:
        """The deciding ones, for people."""
        return (
            f"fsync={self.settings['fsync']}, "
            f"synchronous_commit={self.settings['synchronous_commit']}, "
            f"full_page_writes={self.settings['full_page_writes']}, {self.cores} cores, "
            f"PostgreSQL {self.postgres}, data on {self.file_system} "
            f"(a synced page takes {self.sync_milliseconds:.2f} ms), Python {self.python}"
        )


async def read_durability(url: str, data_directory: Path) -> Durability:
    """Ask the server as one of its service roles, and the machine. Writes a page and removes it."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT name, current_setting(name) FROM unnest($1::text[]) AS name", SETTINGS
        )
        version = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    home = (data_directory / "postgres").resolve()  # a link, if root's directories are closed
    return Durability(
        postgres=version,
        settings=dict(rows),
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        python=sys.version.split()[0],
        file_system=file_system_of(home),
        sync_milliseconds=_sync_seconds(home) * 1000,
    )


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that this path is on."""
    place = path.resolve()
    kinds = {}
    for line in mounts.read_text().splitlines():
        _, directory, kind, *_ = line.split()
        kinds[Path(directory.replace("\\040", " "))] = kind
    homes = [home for home in (place, *place.parents) if home in kinds]
    return kinds[homes[0]] if homes else "unknown"


def _sync_seconds(directory: Path) -> float:
    path = directory / "bench-sync.tmp"
    taken = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(SYNCS):
            os.pwrite(descriptor, PAGE, 0)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

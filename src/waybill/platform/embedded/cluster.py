"""The files of one PostgreSQL cluster: where they live, how they are made, how it is started.

A cluster appears by one rename after initdb has synced it; kill -9 in between leaves nothing that
a later start could take for a database.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.embedded.account import server_account
from waybill.platform.embedded.binaries import MAJOR_VERSION, programs
from waybill.platform.embedded.launch import run_as
from waybill.platform.embedded.secrets import sync_directory

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from waybill.platform.embedded.account import Account

SUPERUSER: Final = "postgres"
PORT: Final = 5432
"""Names the socket file; nothing listens on TCP."""
SOCKET_PATH_BYTES_MAX: Final = 107
CLOSED_DATA_HOME: Final = Path("/var/lib/waybill")
"""Where root's cluster goes if `nobody` cannot enter the data directory."""

_DEFAULTS: Final[Mapping[str, str]] = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "wal_compression": "on",
    "checkpoint_timeout": "5min",
    "io_method": "sync",  # no extra processes for a working set that fits into memory
    "jit": "off",  # every statement is short
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # tables are insert-heavy: keep visibility maps and statistics close behind
    "autovacuum_naptime": "30s",
    "autovacuum_vacuum_insert_scale_factor": "0.1",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_limit": "1000",
}
"""Written into postgresql.conf once; the operator may change them there."""

_FIXED: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "max_prepared_transactions": "0",  # two-phase is refused everywhere (protocol E4)
    "password_encryption": "scram-sha-256",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] %q%d ",
    "log_error_verbosity": "terse",  # DETAIL repeats values of rows
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
}
"""Given at every start: guarantees stand on them."""


_SAID_TO_CLIENTS: Final = ("the database system is", "terminating connection")
"""Follows from whatever is wrong, in any number, and is no reason."""


class Cluster:
    """The cluster of one data directory. Call it only while holding the directory's lock."""

    def __init__(self, data_directory: Path) -> None:
        self._data = data_directory
        self.home = data_directory / "postgres"
        self.log = data_directory / "postgres.log"

    @property
    def files(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.home.resolve() / "data"

    @property
    def socket_directory(self) -> Path:
        """Where the socket is: beside the files, or in a short private place if that is long."""
        beside = self.home.resolve() / "socket"
        if len(os.fsencode(beside / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES_MAX:
            return beside
        digest = hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:16]
        return Path("/tmp") / f"waybill-{digest}"  # noqa: S108 - owner and mode are checked

    def prepare(self, password: Callable[[], str]) -> Account:
        """Make what is missing, check what is there; the account to run the server as."""
        try:
            account = self._prepare(password)
        except OSError as error:
            raise ConfigurationError(
                f"the data directory {self._data} cannot be used: "
                f"{error.strerror} ({error.filename})"
            ) from error
        return account

    def ready_pid(self) -> int | None:
        """The pid that wrote "ready" into postmaster.pid; whether it lives is not checked."""
        try:
            lines = (self.files / "postmaster.pid").read_text().splitlines()
        except OSError:
            return None
        ready = len(lines) > 7 and lines[7].strip() == "ready"  # noqa: PLR2004 - PostgreSQL's layout
        return int(lines[0]) if ready else None

    def drop_pid_files(self) -> None:
        """Forget pids that may be somebody else's by now; only when no server of ours runs.

        The socket has one as well, and PostgreSQL takes even a zombie for its holder.
        """
        (self.files / "postmaster.pid").unlink(missing_ok=True)
        (self.socket_directory / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def launch(self, account: Account, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the server and return at once. Its journal may have to be replayed first."""
        given = {**_FIXED, "unix_socket_directories": str(self.socket_directory), **settings}
        arguments = [part for item in given.items() for part in ("-c", "{}={}".format(*item))]
        command = [str(programs(account) / "postgres"), "-D", str(self.files), *arguments]
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            return run_as(account, command, log=log)
        finally:
            os.close(log)

    def remove(self) -> None:
        """Delete the cluster for good, wherever it lives."""
        target = self.home.resolve()
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(self.socket_directory, ignore_errors=True)
        if self.home.is_symlink():
            self.home.unlink()
        self.log.unlink(missing_ok=True)
        self.log.with_suffix(".log.1").unlink(missing_ok=True)

    def _prepare(self, password: Callable[[], str]) -> Account:
        account = server_account(self.home)
        if not self.home.exists():
            self.home.unlink(missing_ok=True)  # a link whose target is gone
            self._make_home(account)
        if not account.may_enter(self.home.resolve().parent):
            raise ConfigurationError(
                f"PostgreSQL must run as {account.name}, who cannot enter {self.home.resolve()}: "
                "choose a directory that everybody may enter with --data"
            )
        self._check_version()
        if not self.files.exists():
            self._initialise(account, password())
        self._make_private(self.socket_directory, account)
        return account

    def _make_home(self, account: Account) -> None:
        if account.may_enter(self._data):
            self._make_private(self.home, account)
            return
        # root's own directories stay closed, so the cluster lives elsewhere and is linked
        CLOSED_DATA_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        name = self._data.resolve().name.strip(".") or "data"
        elsewhere = tempfile.mkdtemp(prefix=f"{name}-", dir=CLOSED_DATA_HOME)
        os.chown(elsewhere, account.uid, account.gid)
        self.home.symlink_to(elsewhere)

    def _make_private(self, directory: Path, account: Account) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        if status.st_uid == os.geteuid() and account.switch:
            os.chown(directory, account.uid, account.gid, follow_symlinks=False)
        elif status.st_uid != account.uid or status.st_mode & 0o077:
            raise ConfigurationError(
                f"{directory} must belong to {account.name} alone (mode 0700): fix or remove it"
            )

    def _check_version(self) -> None:
        try:
            found = (self.files / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            if self.files.exists():
                raise ConfigurationError(
                    f"{self.files} is no PostgreSQL cluster: restore it from a backup, "
                    "or drop the data with `waybill reset`"
                ) from None
            return
        if found != str(MAJOR_VERSION):
            raise ConfigurationError(
                f"{self.files} was made by PostgreSQL {found}, and this Waybill runs "
                f"{MAJOR_VERSION}: dump it with the Waybill that made it, or use another --data"
            )

    def _initialise(self, account: Account, password: str) -> None:
        draft = self.files.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)  # an earlier initdb that was killed
        secret = self._password_file(account, password)
        command = [
            str(programs(account) / "initdb"),
            *("--pgdata", str(draft), "--username", SUPERUSER, "--pwfile", str(secret)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--data-checksums"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            *("--no-instructions", "--sync-method", "fsync"),
            *(part for item in _DEFAULTS.items() for part in ("--set", "{}={}".format(*item))),
        ]
        try:
            with tempfile.TemporaryFile() as output:
                status = run_as(account, command, log=output.fileno()).wait()
                output.seek(0)
                text = output.read().decode(errors="replace")
        finally:
            secret.unlink(missing_ok=True)
        if status != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise ConfigurationError(f"initdb failed in {draft.parent}: {complaint(text)}")
        draft.rename(self.files)
        sync_directory(self.files.parent)

    def _password_file(self, account: Account, password: str) -> Path:
        path = self.home.resolve() / "initdb.password"
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w") as file:
            if account.switch:
                os.fchown(descriptor, account.uid, account.gid)
            file.write(password + "\n")
        return path


def complaint(text: str) -> str:
    """The line of a PostgreSQL program's output that says why it ended: the first of the worst."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for mark in ("PANIC:", "FATAL:", "error:", "ERROR:"):
        for line in lines:
            said = line.partition(mark)[2].strip()
            if said and not said.startswith(_SAID_TO_CLIENTS):
                return said
    return lines[-1] if lines else "it said nothing"

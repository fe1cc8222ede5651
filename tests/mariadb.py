"""Debian's MariaDB, started by the tests: a server of their own, on a socket, gone afterwards.

It is missing: the tests fail and say how to install it. They never skip: one that does has failed.
MYSQL_URL names a MySQL 8 server's superuser (any database of it): then every test of MariaDB runs
there as well. Only tests may use that server: they make users, and set their passwords.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, socket
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import asyncmy

from waybill.messaging.adapters.mysql.session import connecting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    import pytest


def servers(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What tests of MariaDB run on: Debian's, and the server that is named, if one is."""
    return ("mariadb", "mysql") if environment.get("MYSQL_URL") else ("mariadb",)


SERVERS = servers(os.environ)
ENGINES = ("postgresql", *SERVERS)

START_SECONDS = 60.0
_numbers = itertools.count(1)
_NEEDED = ("mariadbd", "mariadb-install-db")
_PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"

# A run of the tests that is killed leaves no server behind.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--") if shutil.which("setpriv") else ()

# Durable as in production; small, and without what only costs start-up time.
OPTIONS = (
    "--skip-networking",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=1",
    "--performance-schema=OFF",
    "--skip-log-bin",
    "--max-connections=200",
)


class Mariadb:
    """One server in a directory of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        # A socket's path has 107 bytes at most, whatever the directory of the tests is.
        self._sockets = Path(tempfile.mkdtemp(prefix="waybill-db-"))
        self.socket = self._sockets / "s"
        self._process: subprocess.Popen[bytes] | None = None
        path = f"{os.environ.get('PATH', '')}:{_PLACES}"
        self._programs = {name: shutil.which(name, path=path) for name in _NEEDED}
        if not all(self._programs.values()):
            raise RuntimeError(
                "MariaDB is missing, which these tests need: apt-get install mariadb-server"
            )

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        run = self._as_me("mariadb-install-db", "--auth-root-authentication-method=normal")
        made = subprocess.run(
            [*run, "--skip-test-db"], check=False, capture_output=True, text=True, timeout=120
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db: {made.stdout}{made.stderr}")
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop(at_once=True)  # nobody needs its data
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.socket.unlink(missing_ok=True)  # one that was killed left it
        log = (self._directory / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    *_ENDS_WITH_US,
                    *self._as_me("mariadbd", *OPTIONS, *self._options),
                    f"--socket={self.socket}",
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "server.log").read_text())
            time.sleep(0.05)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it; `at_once` as a power cut would."""
        process, self._process = self._process, None
        if process is None:
            return
        (process.kill if at_once else process.terminate)()
        process.wait(timeout=START_SECONDS)

    @property
    def url(self) -> str:
        """Of a database that is always there, as its superuser."""
        return f"mysql://root@localhost/mysql?unix_socket={quote(str(self.socket))}"

    def _answers(self) -> bool:
        with socket(AF_UNIX) as asking:  # its file is there before anybody listens on it
            return asking.connect_ex(str(self.socket)) == 0

    def _as_me(self, program: str, *arguments: str) -> list[str]:
        """The server refuses to run as root unless it is told so."""
        return [
            str(self._programs[program]),
            "--no-defaults",
            f"--datadir={self._directory / 'data'}",
            f"--tmpdir={self._directory}",  # each that starts empties it of all temporary tables
            f"--user={pwd.getpwuid(os.getuid()).pw_name}",
            *arguments,
        ]


@contextmanager
def running_mariadb(directory: Path) -> Iterator[str]:
    """A server, told by its superuser's URL; a user without a name is none of its users."""
    with Mariadb(directory) as server:
        # It would be preferred to `name`@`%` on a socket. In a thread: here a loop may run.
        drop = Databases(server.url).run("DROP USER IF EXISTS ''@'localhost'")
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, drop).result(timeout=START_SECONDS)
        yield server.url


def server_url(request: pytest.FixtureRequest, server: str) -> str:
    """The superuser's URL of one of SERVERS."""
    if server == "mysql":
        return os.environ["MYSQL_URL"]
    url: str = request.getfixturevalue("mariadb_url")
    return url


def never_skipped(item: pytest.Item, report: pytest.TestReport) -> None:
    """A test of MariaDB that was skipped has failed: without it nobody knows that it works."""
    callspec = getattr(item, "callspec", None)
    named = [each for each in callspec.params.values() if isinstance(each, str)] if callspec else []
    concerned = {*SERVERS} & {*named} or "mariadb_url" in getattr(item, "fixturenames", ())
    if report.skipped and concerned and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"tests of MariaDB are never skipped: {report.longrepr}"


class Databases:
    """Makes fresh databases on a server, and drops them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[str] = []

    async def make(self) -> str:
        """The URL of a new, empty database."""
        name = f"waybill_{os.getpid()}_{next(_numbers)}"
        await self.run(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        self._made.append(name)
        return of(self._url, name)

    async def drop(self, url: str) -> None:
        """Drop one that was made."""
        name = urlsplit(url).path.lstrip("/")
        await self.run(f"DROP DATABASE IF EXISTS `{name}`")

    async def run(self, statement: str) -> Any:  # noqa: ANN401 - whatever rows
        """One statement, as the superuser."""
        connection = await asyncmy.connect(
            **connecting(self._url, connect_seconds=10.0, program="tests")
        )
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
                return await cursor.fetchall()
        finally:
            await connection.ensure_closed()


def of(url: str, database: str) -> str:
    """The same server's other database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))

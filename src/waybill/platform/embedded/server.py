"""The supervisor of one embedded PostgreSQL (protocol E1, E2).

Guarantees: one platform a data directory; a start after kill -9 of anything takes over at once;
crash recovery is waited for, however long; what it did not start it does not stop.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.embedded.cluster import SUPERUSER, Cluster, complaint
from waybill.platform.embedded.lock import FileLock
from waybill.platform.embedded.processes import end_processes, processes_of
from waybill.platform.embedded.secrets import Secrets

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from waybill.platform.embedded.account import Account

STOP_SECONDS: Final = 15.0
"""A fast shutdown writes a checkpoint; after this it is told to quit without one."""
LOG_BYTES_MAX: Final = 10_000_000
PROGRESS_SECONDS: Final = 2.0
WATCH_SECONDS: Final = 0.2
RETRY_SECONDS: Final = 2.0
JOURNAL_FILE_BYTES: Final = 16 * 1024 * 1024
"""PostgreSQL needs room for one more to start, and panics without it."""
_COMPLAINT_BYTES_MAX: Final = 100_000
_POLL_SECONDS: Final = 0.01


def _ignore(line: str) -> None:
    del line


class EmbeddedPostgres:
    """PostgreSQL on a data directory.

    `shared` lets several processes use one directory: the first runs the server, and another
    takes it over when that one ends (call `watch`). Without it the directory is ours alone.
    `settings` are PostgreSQL's own; `progress` hears one line when a start takes long.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        shared: bool = False,
        settings: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = _ignore,
    ) -> None:
        self._data = data_directory.absolute()
        self._shared = shared
        self._settings = dict(settings or {})
        self._progress = progress
        self._cluster = Cluster(self._data)
        self._secrets = Secrets(self._data / "secrets.json")
        self._place = FileLock(self._data / "lock")
        self._server = FileLock(self._data / "server.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._account: Account | None = None
        self._log_start = 0

    @property
    def data_directory(self) -> Path:
        """The platform's directory; PostgreSQL's files are below it."""
        return self._data

    @property
    def secrets(self) -> Secrets:
        """The passwords of this server's roles."""
        return self._secrets

    @property
    def pid(self) -> int | None:
        """The server's process if this object started it."""
        return None if self._process is None else self._process.pid

    def url(self, database: str = "postgres", role: str = SUPERUSER) -> str:
        """A URL for asyncpg (SQLAlchemy: put `+asyncpg` behind the scheme)."""
        password = quote(self._secrets.password(role), safe="")
        socket = quote(str(self._cluster.socket_directory), safe="/")
        return f"postgresql://{quote(role)}:{password}@/{quote(database)}?host={socket}"

    def running(self) -> bool:
        """Whether a server accepts connections on this data, whoever started it."""
        pid = self._cluster.ready_pid()
        return pid is not None and pid in processes_of(self._cluster.files)

    def claim(self) -> None:
        """Take our place at the directory, before anything is started. May be repeated.

        Raises ConfigurationError if another platform has it.
        """
        try:
            self._data.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the data directory {self._data} cannot be made: {error.strerror}"
            ) from error
        self._take_place()

    async def start(self) -> None:
        """Bring the server up; returns when it accepts connections.

        Raises ConfigurationError with one line that says what to do.
        """
        self.claim()
        try:
            await self._bring_up()
        except BaseException:  # cancelled by a signal, too
            await self.stop()
            raise

    def start_blocking(self) -> None:
        """The same without an event loop."""
        self.claim()
        try:
            for must_prepare in self._starting():
                if must_prepare:
                    self._prepare()
                else:
                    time.sleep(_POLL_SECONDS)
        except BaseException:
            self.stop_blocking()
            raise

    async def stop(self) -> None:
        """Stop what was started here and release the directory. May be repeated."""
        for _ in self._stopping():
            await asyncio.sleep(_POLL_SECONDS)

    def stop_blocking(self) -> None:
        """The same without an event loop."""
        for _ in self._stopping():
            time.sleep(_POLL_SECONDS)

    async def watch(self) -> None:
        """Run until cancelled: start the server again if it died, keep its log bounded.

        In shared use also take over from the process that ran it. An outage costs time only: what
        keeps it from starting (a full disk, say) may pass, and meanwhile our place stays ours.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._bound_log()
            if self._process is not None and self._process.poll() is not None:
                self._progress(f"PostgreSQL ended ({self._ending()}): starting it again")
                self._process = None
            try:
                if self._process is None and self._server.acquire():
                    await self._bring_up()
            except (ConfigurationError, OSError) as error:
                self._progress(str(error))
                await asyncio.sleep(RETRY_SECONDS)

    def remove(self) -> None:
        """Delete every byte of the data directory's databases. Raises if somebody uses them."""
        if not self._data.exists():
            return
        self._take_place()
        try:
            end_processes(self._cluster.files)
            self._cluster.remove()
            shutil.rmtree(self._data, ignore_errors=True)
        finally:
            self._place.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self.start_blocking()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_blocking()

    def _take_place(self) -> None:
        if not self._place.acquire(shared=self._shared):
            raise ConfigurationError(
                f"{self._data} is in use by another waybill (process {self._place.holder()}): "
                "stop it with `waybill down`, or choose another directory with --data"
            )

    async def _bring_up(self) -> None:
        for must_prepare in self._starting():
            if must_prepare:
                await asyncio.to_thread(self._prepare)
            else:
                await asyncio.sleep(_POLL_SECONDS)

    def _starting(self) -> Iterator[bool]:
        """Yields until the server is ready; True asks for `_prepare` before the next turn."""
        began = reported = time.monotonic()
        while True:
            # The lock first: a server whose owner was killed still answers for a moment, and
            # is not to be joined.
            if self._process is None and self._server.acquire():
                yield True
                self._launch()  # in the main thread: it lives as long as the process
            if self._is_ready():
                return
            now = time.monotonic()
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                self._progress(
                    f"PostgreSQL is not ready yet, it may replay its journal ({now - began:.0f} s)"
                )
            yield False

    def _prepare(self) -> None:
        self._account = self._cluster.prepare(self._superuser_password)
        ended = end_processes(self._cluster.files)
        if ended:
            self._progress(f"ended {ended} PostgreSQL processes of a platform that was killed")
        self._cluster.drop_pid_files()
        self._bound_log()

    def _superuser_password(self) -> str:
        self._secrets.ensure([SUPERUSER])
        return self._secrets.password(SUPERUSER)

    def _launch(self) -> None:
        assert self._account is not None  # noqa: S101 - _prepare came first
        self._log_start = self._log_size()
        self._process = self._cluster.launch(self._account, self._settings)

    def _is_ready(self) -> bool:
        if self._process is None:
            return self.running()
        if self._process.poll() is not None:
            self._process = None
            raise ConfigurationError(
                f"PostgreSQL does not start on {self._data}: {self._complaint()} "
                f"(see {self._cluster.log})"
            )
        return self._cluster.ready_pid() == self._process.pid

    def _stopping(self) -> Iterator[None]:
        process, self._process = self._process, None
        try:
            if process is not None:
                yield from _end(process)
                end_processes(self._cluster.files)
        finally:
            self._release()

    def _release(self) -> None:
        self._server.release()
        self._place.release()

    def _log_size(self) -> int:
        return self._cluster.log.stat().st_size if self._cluster.log.exists() else 0

    def _ending(self) -> str:
        assert self._process is not None  # noqa: S101 - whose end is told
        status = self._process.returncode
        return self._complaint() if status >= 0 else f"by signal {-status}"

    def _complaint(self) -> str:
        try:
            with self._cluster.log.open("rb") as log:
                log.seek(max(self._log_start, self._log_size() - _COMPLAINT_BYTES_MAX))
                said = complaint(log.read(_COMPLAINT_BYTES_MAX).decode(errors="replace"))
            free = shutil.disk_usage(self._cluster.files).free
        except OSError:
            return "its log cannot be read"
        if free < JOURNAL_FILE_BYTES:  # on a full disk its log ends before the reason
            said += f"; {free} bytes are free on its disk, make room"
        return said

    def _bound_log(self) -> None:
        """Keep one older log; the server appends, so cutting the file under it is safe."""
        if self._log_size() > LOG_BYTES_MAX:
            log = self._cluster.log
            older = log.with_name(log.name + ".1")
            try:
                shutil.copyfile(log, older)
            except OSError as error:  # no room for both: the bound comes first
                older.unlink(missing_ok=True)
                self._progress(f"{log} was cut without a copy: {error.strerror}")
            os.truncate(log, 0)
            self._log_start = 0


def _end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Fast shutdown, then immediate; yields while it takes."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if process.poll() is None:
            process.send_signal(number)
        deadline = time.monotonic() + STOP_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            yield
    process.poll()


@asynccontextmanager
async def borrowed(data_directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """The server of this data: the one that runs, else one started for as long as this lasts.

    For an operator's commands. Raises ConfigurationError if there are no data yet.
    """
    server = EmbeddedPostgres(data_directory)
    if not (data_directory / "postgres").exists():
        raise ConfigurationError(
            f"{data_directory} holds no data: start with `waybill up`, or name the directory "
            "with --data"
        )
    if server.running():
        yield server
        return
    async with server:
        yield server

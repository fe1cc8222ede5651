"""`waybill up --detach`, `down`, `logs`, `status`: a platform that runs without a terminal.

The lock of the data directory tells who runs there: it goes with the process, so that no stale
pid file can mislead anybody.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx2

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.chosen import chosen
from waybill.platform.embedded.lock import FileLock
from waybill.platform.http.server import bind
from waybill.platform.services import plans_of
from waybill.platform.settings import reached_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from waybill.platform.settings import Settings

LOG_NAME: Final = "platform.log"
LOG_BYTES_MAX: Final = 10_000_000
READY_SECONDS: Final = 120.0
STOP_SECONDS: Final = 40.0
_POLL_SECONDS: Final = 0.05


def start_in_background(settings: Settings, *, say: Callable[[str], None]) -> None:
    """Start `waybill up` on its own and return when every service is ready.

    If it runs on these data already, that is told. Raises ConfigurationError with the platform's
    own last word if it does not come up.
    """
    data = settings.data_directory.absolute()
    held = any(holders(data / "lock"))
    if held and set(readiness(settings).values()) == {"UP"}:
        say(f"runs already on {settings.data_directory}")
    else:
        if not held:  # else it is told that the data are in use, whatever the ports
            _check_ports(settings)
        _start(settings, data)
    for name, url in addresses(settings).items():
        say(f"{name:<22} {url}")
    say(f"log: {data / LOG_NAME}")


def _check_ports(settings: Settings) -> None:
    """Else the answers of whoever listens there would pass for ours."""
    for plan in plans_of(chosen(settings)).values():
        bind(settings.port_base + plan.port_offset, host=settings.host).close()


def _start(settings: Settings, data: Path) -> None:
    make_directory(data)
    log = data / LOG_NAME
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        shutil.move(log, log.with_name(LOG_NAME + ".1"))
    place = ("--data", str(data), "--port-base", str(settings.port_base))
    which = ["--blueprint", chosen(settings).name]
    if settings.insecure:
        which.append("--insecure")
    with log.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "waybill", "up", *place, *which],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        _wait_ready(settings, process, log, began)
    except BaseException:  # Ctrl-C, too: what is not wanted any more must not come up later
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        raise


def make_directory(data: Path) -> None:
    """A data directory that others may pass through. Raises ConfigurationError."""
    try:
        data.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data directory {data} cannot be made: {error.strerror}"
        ) from error


def stop_in_background(data_directory: Path) -> bool:
    """Have whoever runs on this data drain and end; whether somebody did.

    Raises ConfigurationError if it does not end in time.
    """
    lock = FileLock(data_directory / "lock")
    if not data_directory.exists():
        return False
    asked: set[int] = set()
    deadline = time.monotonic() + STOP_SECONDS
    while not lock.acquire():
        for pid in set(holders(data_directory / "lock")) - asked:
            asked.add(pid)
            _terminate(pid)
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"the platform on {data_directory} does not end "
                f"(processes {', '.join(map(str, sorted(asked)))}): kill -9 is safe"
            )
        time.sleep(_POLL_SECONDS)
    lock.release()
    return bool(asked)


def holders(lock: Path) -> Iterator[int]:
    """The processes that hold this file's lock, as the kernel knows them."""
    try:
        status = lock.stat()
        locks = Path("/proc/locks").read_text()
    except OSError:
        return
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in locks.splitlines():
        fields = line.split()
        if wanted in fields and "FLOCK" in fields and "->" not in fields:
            yield int(fields[fields.index(wanted) - 1])


def addresses(settings: Settings) -> dict[str, str]:
    """Where each service listens."""
    return {
        plan.name: f"http://{reached_at(settings.host)}:{settings.port_base + plan.port_offset}"
        for plan in plans_of(chosen(settings)).values()
    }


def readiness(settings: Settings) -> dict[str, str]:
    """What each service says of itself: UP, OUT_OF_SERVICE, DOWN or "no answer"."""
    found = {}
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # asked often: the usual one reads many files
    with httpx2.Client(timeout=5, trust_env=False, verify=no_tls) as client:
        for name, url in addresses(settings).items():
            try:
                found[name] = str(client.get(f"{url}/readyz").json()["status"])
            except (httpx2.HTTPError, ValueError, KeyError):
                found[name] = "no answer"
    return found


def show_log(data_directory: Path, *, lines: int, follow: bool, say: Callable[[str], None]) -> None:
    """The last lines of the background platform's log, and (follow) those that come."""
    log = data_directory / LOG_NAME
    if not log.exists():
        raise ConfigurationError(f"{log} is not there: start with `waybill up --detach`")
    with log.open(errors="replace") as file:
        for line in file.readlines()[-lines:]:
            say(line.rstrip("\n"))
        while follow:
            line = file.readline()
            if line:
                say(line.rstrip("\n"))
            else:
                time.sleep(_POLL_SECONDS)


def _wait_ready(
    settings: Settings, process: subprocess.Popen[bytes], log: Path, began: int
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while set(readiness(settings).values()) != {"UP"}:
        if process.poll() is not None:
            with log.open("rb") as file:
                file.seek(began)
                words = file.read().decode(errors="replace").strip().splitlines()
            last = words[-1] if words else f"it ended with status {process.returncode}"
            raise ConfigurationError(last.removeprefix("waybill: "))
        if time.monotonic() > deadline:
            raise ConfigurationError(f"not ready within {READY_SECONDS:.0f} s: see {log}")
        time.sleep(_POLL_SECONDS)


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise ConfigurationError(
            f"the platform (process {pid}) belongs to another user: stop it as that user"
        ) from error

"""Finds and ends the processes of one cluster; no other process is ever signalled.

A process belongs to the cluster if it runs a program called `postgres` and stands in its
directory. A pid alone proves nothing: it may have been given to somebody else (protocol E1).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from waybill.messaging.core.errors import ConfigurationError

QUIT_SECONDS = 5.0
KILL_SECONDS = 10.0
_POLL_SECONDS = 0.01


def processes_of(cluster: Path) -> list[int]:
    """The pids of the server and its backends, orphans included."""
    home = str(cluster.resolve())
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _stands_in(entry, home)
    ]


def end_processes(cluster: Path, *, at_once: bool = False) -> int:
    """End all that still run on the cluster and wait for it; how many there were.

    They quit without a checkpoint: the next start replays the journal, which kill -9 would have
    asked for anyway. `at_once` is that kill -9. Raises ConfigurationError if one will not go.
    """
    found = processes_of(cluster)
    quitting = () if at_once else ((signal.SIGQUIT, QUIT_SECONDS),)
    for number, seconds in (*quitting, (signal.SIGKILL, KILL_SECONDS)):
        for pid in processes_of(cluster):
            _signal(pid, number)
        if _gone_within(cluster, seconds):
            return len(found)
    raise ConfigurationError(
        f"processes of an earlier PostgreSQL on {cluster} do not end "
        f"(pids {processes_of(cluster)}): end them by hand"
    )


def _stands_in(process: Path, home: str) -> bool:
    try:
        program = (process / "exe").readlink().name.removesuffix(" (deleted)")
        return program == "postgres" and str((process / "cwd").readlink()) == home
    except OSError:  # it ended meanwhile, or it is somebody else's
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise ConfigurationError(
            f"a PostgreSQL of another user (pid {pid}) runs on this data: stop it first"
        ) from error


def _gone_within(cluster: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while processes_of(cluster):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True

"""Starts PostgreSQL's programs as the account they must run as, and lets them die with us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Final

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.platform.embedded.account import Account

_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_PR_SET_PDEATHSIG: Final = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def run_as(account: Account, command: list[str], *, log: int) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: Ctrl-C is for us, not for it.

    If our process is killed the program is told to shut down, as long as the main thread started
    it: the kernel sends that signal when the starting *thread* ends.
    """
    try:
        return subprocess.Popen(  # noqa: S603 - our own programs and arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
            extra_groups=[] if account.switch else None,
            umask=0o077,
            preexec_fn=told_of_our_end(signal.SIGINT),  # noqa: PLW1509 - two system calls
        )
    except OSError as error:
        raise ConfigurationError(
            f"{command[0]} cannot be run by {account.name}: {error.strerror}"
        ) from error


def told_of_our_end(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn`: the kernel sends the child this signal when we end, even by SIGKILL (Linux).

    Perhaps several times. None outside the main thread: a thread's end would be taken for ours.
    """
    if _prctl is None or threading.current_thread() is not threading.main_thread():
        return None
    parent = os.getpid()

    def ask_for_signal() -> None:
        _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_for_signal

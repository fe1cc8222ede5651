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
    main = threading.current_thread() is threading.main_thread()
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
            preexec_fn=_die_with(os.getpid()) if main else None,  # noqa: PLW1509 - two system calls
        )
    except OSError as error:
        raise ConfigurationError(
            f"{command[0]} cannot be run by {account.name}: {error.strerror}"
        ) from error


def _die_with(parent: int) -> Callable[[], None]:
    def ask_for_signal() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
            if os.getppid() != parent:  # it died before we asked
                os._exit(1)

    return ask_for_signal

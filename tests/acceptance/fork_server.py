"""Starts programs through the crash runner by forking, with everything imported already.

A start takes a third of the time then. One JSON list of arguments a line on standard input; the
child's pid, then its status, a line each on standard output. A program has a log and a session of
its own, as if it had been started alone.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import NoReturn

import waybill.cli
import waybill.platform.foreground  # noqa: F401 - what takes long to import
from waybill.messaging.testing import crash_runner


def run(log: str, arguments: list[str]) -> NoReturn:
    """The child: be the program."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.argv = [crash_runner.__name__, *arguments]
    status = 1
    try:
        crash_runner.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a process's edge
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def serve() -> None:
    """One program at a time, until standard input ends."""
    for line in sys.stdin:
        log, *arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(log, arguments)
        print(pid, flush=True)  # noqa: T201 - the protocol
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    serve()

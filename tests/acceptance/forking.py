"""Starts programs (`python -m module …`) by forking, with everything imported already.

A start takes a third of the time then. Who connects sends one JSON document with three descriptors,
and is told the program's process and then its status, a line each. A program has an environment, a
directory and standard streams of its own, as if it had been started alone; what Python itself reads
as it begins it has from us.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic.command  # noqa: F401 - who makes databases imports it late, for it takes long

import waybill.cli
import waybill.platform.foreground  # noqa: F401 - what takes long to import

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_BYTES = 1 << 20
STREAMS = 3


class ForkServer:
    """Lives until its standard input ends, which is when its starter does."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._running: dict[int, socket.socket] = {}
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.settimeout(0)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> Callable[[], None] | None:
        """What to run, in a process of its own; None in ours, at its end."""
        while True:
            ready = select.select([sys.stdin, self._woken, self._listening], [], [])[0]
            if sys.stdin in ready:
                return None
            if self._woken in ready:
                self._woken.recv(REQUEST_BYTES)
                self._tell_endings()
            if self._listening in ready:
                program = self._start()
                if program is not None:
                    return program

    def _start(self) -> Callable[[], None] | None:
        connection, _ = self._listening.accept()
        text, streams, _, _ = socket.recv_fds(connection, REQUEST_BYTES, STREAMS)
        while more := connection.recv(REQUEST_BYTES):
            text += more
        pid = os.fork()
        if pid:
            self._running[pid] = connection
            for descriptor in streams:
                os.close(descriptor)
            return None
        asked = json.loads(text)
        if asked["session"]:
            os.setsid()
        connection.sendall(b"%d\n" % os.getpid())
        connection.close()
        self._leave()
        return partial(run, asked, streams)

    def _leave(self) -> None:
        """The child has nothing of ours."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (*self._running.values(), self._woken, self._wake, self._listening):
            each.close()

    def _tell_endings(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._running.pop(pid) as connection:
                try:
                    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                except OSError:  # nobody waits for it
                    continue


def run(asked: dict[str, Any], streams: list[int]) -> None:
    """Be the program."""
    for standard, descriptor in enumerate(streams):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["directory"])
    sys.argv = [asked["module"], *asked["arguments"]]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


def main() -> None:
    """Serve on the socket whose descriptor is the argument; its file goes with us."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    path = Path(listening.getsockname())
    gc.collect()
    gc.freeze()  # what is never looked at is never copied
    try:
        program = ForkServer(listening).serve()
    except KeyboardInterrupt:
        program = None
    if program is not None:
        program()
        return
    path.unlink()
    path.parent.rmdir()


if __name__ == "__main__":
    main()

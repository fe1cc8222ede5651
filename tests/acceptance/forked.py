"""Programs that the fork server starts, from tests and from the shells that tests run.

    python -I -S tests/acceptance/forked.py SOCKET waybill status

does what `python -m waybill status` does. Only the standard library is imported here.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
COMMAND_SECONDS = 60.0
ONLY_AT_ITS_BEGINNING = ("PYTHON", "LD_")
"""Variables whose names begin so are read by a Python that begins, not by one that is forked."""


class Forked:
    """A program that runs, as far as it is used like a subprocess.Popen."""

    def __init__(self, connection: int) -> None:
        self._connection = connection
        self._reading = threading.Lock()
        self.returncode: int | None = None
        self.pid = self._number(START_SECONDS)

    def __del__(self) -> None:
        os.close(self._connection)

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        with self._reading:
            if self.returncode is None and self._is_told(0):
                self.returncode = self._number()
            return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        self._is_told(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Signal it, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _is_told(self, seconds: float) -> bool:
        return bool(select.select([self._connection], [], [], seconds)[0])

    def _number(self, seconds: float = 0) -> int:
        if seconds and not self._is_told(seconds):
            raise subprocess.TimeoutExpired("the fork server", seconds)
        line = bytearray()
        while not line.endswith(b"\n"):
            found = os.read(self._connection, 1)
            if not found:
                raise RuntimeError("the fork server has ended")
            line += found
        return int(line)


Program = Forked | subprocess.Popen[bytes]
"""What runs, forked or not."""


def started(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    streams: tuple[int, int, int],
    session: bool = True,
    server: str = "",
) -> Program:
    """Start `python -m module …` with these variables beside ours, if it may be by forking.

    By our own server, if no other's socket is named.
    """
    variables = {**os.environ, **environment}
    if any(name.startswith(ONLY_AT_ITS_BEGINNING) for name in environment):
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=variables,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            start_new_session=session,
        )
    asked = {
        "module": module,
        "arguments": arguments,
        "environment": variables,
        "directory": str(Path.cwd()),
        "session": session,
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server or fork_server())
        text = json.dumps(asked).encode()
        sent = socket.send_fds(connection, [text], streams)
        connection.sendall(text[sent:])
        connection.shutdown(socket.SHUT_WR)
        return Forked(connection.detach())


def completed(
    module: str, *arguments: str, environment: Mapping[str, str], seconds: float = COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    """The same, run to its end. Raises subprocess.TimeoutExpired."""
    with (
        Path(os.devnull).open() as nothing,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        streams = (nothing.fileno(), output.fileno(), errors.fileno())
        program = started(
            module, *arguments, environment=environment, streams=streams, session=False
        )
        try:
            status = program.wait(seconds)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGKILL)
            raise
        for each in (output, errors):
            each.seek(0)
        command = [module, *arguments]
        return subprocess.CompletedProcess(command, status, output.read(), errors.read())


@cache
def fork_server() -> str:
    """The socket of this process's own server, which ends with it."""
    path = Path(tempfile.mkdtemp(prefix="waybill-fork-")) / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(100)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.forking", str(listening.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            cwd=ROOT,
        )
    atexit.register(process.communicate)  # which closes its standard input
    return str(path)


def main() -> None:
    """Be like the program that is started, for a shell."""
    server, module, *arguments = sys.argv[1:]
    program = started(
        module, *arguments, environment={}, streams=(0, 1, 2), session=False, server=server
    )
    status = program.wait(24 * 3600)
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()

"""Arms the crash points of another process over a Unix socket, and sees whether they were reached.

The process listens if it was started by `crash_runner`; one line of JSON each way, one request a
connection. What was reached is in the file of marks before it happens, so it outlives a kill.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, cast

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.testing.crash_points import ACTIONS, REACH_SECONDS, Block

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from waybill.messaging.testing.crash_points import Armed, CrashPlan

ANSWER_SECONDS = 10.0
"""Beyond what was asked to be waited for."""


def arm(
    plan: CrashPlan, action: str, point: str, *, match: str | None = None, nth: int = 1
) -> Armed:
    """Arm an action by its name."""
    if action not in ACTIONS:
        raise ConfigurationError(f"no action is named {action!r}: {', '.join(ACTIONS)}")
    method: Callable[..., Armed] = getattr(plan, action)
    return method(point, match=match, nth=nth)


def mark(path: Path, armed: Armed) -> None:
    """Write down what is about to happen, and have it on the disk."""
    line = {"pid": os.getpid(), "action": armed.action, "point": armed.point, "name": armed.name}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def marks(path: Path) -> list[dict[str, Any]]:
    """What was reached, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Listens in threads of its own, for as long as the process lives."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, plan: CrashPlan) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Request)
        self._plan = plan
        self._armed: list[Armed] = []
        threading.Thread(target=self.serve_forever, name="crash control", daemon=True).start()

    def answer(self, do: str, request: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked."""
        if do == "arm":
            self._armed.append(arm(self._plan, **request))
            return {"number": len(self._armed) - 1}
        armed = self._armed[request["number"]]
        if do == "wait":
            return {"reached": armed.wait(request["seconds"]), "name": armed.name}
        if do == "release" and isinstance(armed, Block):
            armed.release()
        elif do == "disarm":
            self._plan.disarm(armed)
        else:
            raise ConfigurationError(f"{armed.action} cannot {do}")
        return {}


class _Request(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        try:
            answer = cast("ControlServer", self.server).answer(request.pop("do"), request)
        except ConfigurationError as error:
            answer = {"error": str(error)}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class RemoteArmed:
    """An action that waits for its point in another process."""

    def __init__(self, control: CrashControl, number: int) -> None:
        self._control = control
        self._number = number

    def reached(self, within_seconds: float = REACH_SECONDS) -> bool:
        """Wait until the process comes there; False if it did not in time, or is gone."""
        try:
            answer = self._control.ask(
                "wait", wait_seconds=within_seconds, number=self._number, seconds=within_seconds
            )
        except (ConnectionError, FileNotFoundError):
            return False
        return bool(answer["reached"])

    def release(self) -> None:
        """Let a block go on."""
        self._control.ask("release", number=self._number)

    def disarm(self) -> None:
        """Forget it."""
        self._control.ask("disarm", number=self._number)


class CrashControl:
    """The other end: of a process that `crash_runner` started with this socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def arm(
        self, action: str, point: str, *, match: str | None = None, nth: int = 1
    ) -> RemoteArmed:
        """Arm it now. Raises ConfigurationError for a point that the process does not know."""
        answer = self.ask("arm", action=action, point=point, match=match, nth=nth)
        return RemoteArmed(self, answer["number"])

    def ask(self, do: str, *, wait_seconds: float = 0.0, **request: object) -> dict[str, Any]:
        """One request. Raises ConnectionError if the process dies over it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(wait_seconds + ANSWER_SECONDS)
            connection.connect(str(self._path))
            connection.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        if not line:
            raise ConnectionResetError(f"the process behind {self._path} is gone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ConfigurationError(answer["error"])
        return answer

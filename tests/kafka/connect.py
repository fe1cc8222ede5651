"""Kafka Connect in standalone mode with Debezium's plugin, as a process of this machine."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from scripts.kafka import jars
from scripts.kafka.server import java
from tests.kafka.broker import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

UP_SECONDS = 120
_OPTIONS = ("-Xms32m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Connect:
    """One worker and its connectors; `start` again goes on where it was."""

    def __init__(self, directory: Path, bootstrap: str, worker: str) -> None:
        self._directory = directory
        self._address = f"http://127.0.0.1:{free_port()}"
        self._log = directory / "connect.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._connectors: dict[str, Path] = {}
        directory.mkdir(parents=True, exist_ok=True)
        own = {
            "bootstrap.servers": bootstrap,
            "listeners": self._address,
            "plugin.path": str(jars.fetched(jars.DEBEZIUM)),
            "offset.storage.file.filename": str(directory / "offsets"),
        }
        text = worker + "".join(f"{name}={value}\n" for name, value in own.items())
        (directory / "worker.properties").write_text(text)

    def add(self, connector: Mapping[str, Any]) -> None:
        """Run this connector too, from the next start."""
        path = self._directory / f"{connector['name']}.json"
        path.write_text(json.dumps(connector))
        self._connectors[connector["name"]] = path

    def start(self, environment: Mapping[str, str]) -> None:
        """Start, and wait until every connector's task runs."""
        self.launch(environment)
        deadline = time.monotonic() + UP_SECONDS
        while not all(self.state(name) == "RUNNING" for name in self._connectors):
            failed = any(self.state(name) == "FAILED" for name in self._connectors)
            if failed or not self._runs() or time.monotonic() > deadline:
                raise AssertionError(f"Connect is not up:\n{self.told()[-4000:]}")
            time.sleep(0.1)

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start without waiting."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *java(*_OPTIONS, pom=jars.CONNECT),
                    "org.apache.kafka.connect.cli.ConnectStandalone",
                    str(self._directory / "worker.properties"),
                    *map(str, self._connectors.values()),
                ],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def state(self, connector: str) -> str:
        """What the worker says of the connector's only task."""
        try:
            with urlopen(f"{self._address}/connectors/{connector}/status", timeout=5) as answer:  # noqa: S310 - http
                tasks = json.load(answer)["tasks"]
        except OSError:
            return "UNKNOWN"
        return str(tasks[0]["state"]) if tasks else "UNKNOWN"

    def stop_connector(self, connector: str) -> None:
        """Stop the connector alone; the worker and the others go on."""
        self._ask("PUT", f"{connector}/stop")

    def forget_offsets(self, connector: str) -> None:
        """A connector that is stopped forgets how far it was."""
        self._ask("DELETE", f"{connector}/offsets")

    def resume(self, connector: str) -> None:
        """A connector that is stopped goes on."""
        self._ask("PUT", f"{connector}/resume")

    def _ask(self, method: str, path: str) -> None:
        request = Request(f"{self._address}/connectors/{path}", method=method)  # noqa: S310 - http
        with urlopen(request, timeout=60):  # noqa: S310 - http
            pass

    def told(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def connect(directory: Path, bootstrap: str, worker: str) -> Iterator[Connect]:
    """A worker that is not started yet; killed at the end."""
    made = Connect(directory, bootstrap, worker)
    try:
        yield made
    finally:
        made.kill()

"""One Kafka broker (KRaft, its own controller) as a process of this machine.

It starts, stops, dies and starts again on the same ports and data. Without `detached` it never
outlives the process that started it, however that one ends.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from scripts.kafka import jars, machine
from scripts.kafka.properties import FIXED, HOST, PASSWORD, USER, Listeners, properties

if TYPE_CHECKING:
    from collections.abc import Sequence

UP_SECONDS = 90
STOP_SECONDS = 30
JAVA_OPTIONS = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
CHECKPOINT = "bootstrap.checkpoint"
_QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
_WATCH = 'read _; kill -9 "$1" 2>/dev/null'  # our end of the pipe closes when we are gone


class BrokerError(Exception):
    """The broker did not do what it was told; the text ends with its log."""


class Broker:
    """A broker with everything that it has in one directory."""

    def __init__(
        self,
        directory: Path,
        listeners: Listeners,
        *,
        detached: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.listeners = listeners
        self.log = directory / "broker.log"
        self._detached = detached
        self._options = (*JAVA_OPTIONS, *options)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients without security connect."""
        return self.listeners.address()

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start on the data that is there, formatted if there are none; wait until it is up."""
        self.launch()
        self.wait_up()

    def launch(self) -> None:
        """Start without waiting."""
        if self.pid is not None:
            raise BrokerError(f"the broker in {self.directory} runs already, as process {self.pid}")
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self.directory / "server.properties"
        settings.write_text(properties(self.listeners, self.directory / "data"))
        if not (self.directory / "data" / "meta.properties").exists():
            self._format(settings)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [*java(*self._options), "kafka.Kafka", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not self._detached:
            self._watcher = subprocess.Popen(  # noqa: S603 - our own command
                ["/bin/sh", "-c", _WATCH, "sh", str(self._process.pid)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )

    def wait_up(self, seconds: float = UP_SECONDS) -> None:
        """Wait until its metadata can be listed."""
        deadline = time.monotonic() + seconds
        while not answers(self.bootstrap):
            if self.pid is None or time.monotonic() > deadline:
                text = self.log.read_text(errors="replace")[-2000:]
                raise BrokerError(f"the broker in {self.directory} did not come up:\n{text}")

    def stop(self) -> None:
        """Stop in an orderly way, killing only what does not end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as if the power of its process were cut."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stand, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is None:
            raise BrokerError(f"the broker in {self.directory} does not run")
        os.kill(self.pid, number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._unwatch()
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a paused one would not hear it
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
            if self._watcher.stdin is not None:
                self._watcher.stdin.close()
            self._watcher = None

    def _format(self, settings: Path) -> None:
        """By Kafka's tool the first time; then by what that left, under ids of this broker's."""
        told = hashlib.sha256(f"{FIXED} {USER} {PASSWORD}".encode()).hexdigest()[:8]
        kept, data = jars.fetched() / f"formatted-{told}.checkpoint", self.directory / "data"
        if kept.exists():
            data.mkdir(exist_ok=True)
            shutil.copy(kept, data / CHECKPOINT)
            ids = f"directory.id={_random_id()}\ncluster.id={cluster_id()}\n"
            (data / "meta.properties").write_text(f"version=1\nnode.id=1\n{ids}")
            return
        self._format_by_tool(settings)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            Path(shutil.copy(data / CHECKPOINT, scratch)).replace(kept)

    def _format_by_tool(self, settings: Path) -> None:
        command = [
            *(*java(*JAVA_OPTIONS), "kafka.tools.StorageTool", "format"),
            *("--ignore-formatted", "-t", cluster_id(), "-c", str(settings)),
            *("--add-scram", f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise BrokerError(f"{self.directory} could not be formatted:\n{done.stderr[-2000:]}")


def java(*options: str, pom: Path = jars.BROKER) -> list[str]:
    """The beginning of a Java command on a pom's jars; Java itself expands the asterisk."""
    program, directory = machine.program("java"), jars.fetched(pom)
    parsed = archive(program, directory)
    shared = [f"-XX:SharedArchiveFile={parsed}"] if parsed.exists() else []
    return [program, *shared, *options, _QUIET, "-cp", f"{directory}/*"]


def archive(program: str, directory: Path) -> Path:
    """Where this Java keeps what it has parsed of these jars, if `archived` made it do so."""
    version = hashlib.sha256(machine.java_says(program).encode()).hexdigest()[:8]
    return directory / f"classes-{version}.jsa"


def archived() -> None:
    """Let a broker start and stop once, if none did: every later start takes half the CPU time."""
    parsed = archive(machine.program("java"), jars.fetched())
    with machine.one_at_a_time(parsed.with_suffix(".lock")):
        if parsed.exists():
            return
        with tempfile.TemporaryDirectory(dir=parsed.parent) as scratch:
            half = Path(scratch) / parsed.name
            keeping = (f"-XX:ArchiveClassesAtExit={half}",)
            broker = Broker(Path(scratch), free_listeners(), options=keeping)
            try:
                broker.start()
            finally:
                broker.stop()
            if half.exists():
                half.rename(parsed)


def free_listeners() -> Listeners:
    """Without security, on ports that nobody has now."""
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        for each in (one, other):
            each.bind((HOST, 0))
        first, second = (each.getsockname()[1] for each in (one, other))
        return Listeners({"PLAINTEXT": first}, second)


def cluster_id() -> str:
    """A new id as Kafka writes them; a leading dash would be taken for an option."""
    return "w" + _random_id()[1:]


def _random_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[:22]


def answers(bootstrap: str, seconds: float = 1) -> bool:
    """Whether a broker there lists its metadata."""
    # Its log goes nowhere: a broker that is not up yet is not worth a line each try.
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False

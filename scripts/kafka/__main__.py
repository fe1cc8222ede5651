"""A broker for development: `python -m scripts.kafka up|down|reset|fetch`.

It listens on 127.0.0.1:29092 without security, for this machine alone. `down` keeps its data,
`reset` drops them, `fetch` brings the jars that they and the tests need, parsed for quick starts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.kafka import jars
from scripts.kafka.machine import MissingProgramError
from scripts.kafka.properties import Listeners
from scripts.kafka.server import STOP_SECONDS, Broker, BrokerError, answers, archived

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT = 29092


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.kafka", description=__doc__)
    parser.add_argument("what", choices=["up", "down", "reset", "fetch"])
    parser.add_argument("--data", type=Path, default=Path(".waybill-kafka"))
    parser.add_argument("--port", type=int, default=PORT, help="the next one is its controller's")
    given = parser.parse_args(arguments)
    directory = given.data.resolve()
    try:
        match given.what:
            case "up":
                up(directory, given.port)
            case "down":
                down(directory)
            case "reset":
                down(directory)
                shutil.rmtree(directory, ignore_errors=True)
            case _:
                for pom in (jars.BROKER, jars.CONNECT, jars.DEBEZIUM):
                    jars.fetched(pom)
                archived()
    except (BrokerError, MissingProgramError, jars.UnfetchedError) as error:
        sys.stderr.write(f"kafka: {error}\n")
        return 1
    return 0


def up(directory: Path, port: int) -> None:
    """Start it in the background, or find it running."""
    broker = Broker(directory, Listeners({"PLAINTEXT": port}, port + 1), detached=True)
    running = _running(directory)
    if running is None and answers(broker.bootstrap, 0.2):
        raise BrokerError(f"another broker has {broker.bootstrap}: stop it, or give --port")
    if running is None:
        broker.launch()
        _pid_file(directory).write_text(str(broker.pid))
        broker.wait_up()
    sys.stdout.write(f"Kafka is up: KAFKA_BROKERS={broker.bootstrap} (data in {directory})\n")


def down(directory: Path) -> None:
    """Stop it if it runs, and wait for its end."""
    pid = _running(directory)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _running(directory) is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
    _pid_file(directory).unlink(missing_ok=True)


def _pid_file(directory: Path) -> Path:
    return directory / "broker.pid"


def _running(directory: Path) -> int | None:
    """Its process, told from a stranger that got the number since by its command line."""
    try:
        pid = int(_pid_file(directory).read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(directory / "server.properties").encode() in command else None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""`make kafka-up`, `kafka-down` and `kafka-reset`: a broker in the background, data that stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from scripts.kafka.server import answers
from tests.kafka.broker import free_port
from tests.kafka.records import create_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Command = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
TOPIC = "kept"


@pytest.fixture
def port() -> int:
    """One whose next one is free, too: the controller's."""
    while (found := free_port()) + 1 != free_port():
        pass
    return found


@pytest.fixture
def command(session_directory: Path, port: int) -> Iterator[Command]:
    """What the Makefile calls, with a port and a directory of this test."""
    directory = session_directory / "development-broker"

    def run(what: str, *more: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "scripts.kafka", what, "--port", str(port)]
        line += ["--data", str(directory), *more]
        return subprocess.run(
            line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=150
        )

    yield run
    run("reset")


def test_it_comes_goes_and_keeps_its_data(
    command: Command, port: int, session_directory: Path
) -> None:
    """`up` again finds it running; `down` keeps what it holds, `reset` drops that."""
    address = f"127.0.0.1:{port}"
    for _ in range(2):
        up = command("up")
        assert up.returncode == 0, up.stderr
        assert f"Kafka is up: KAFKA_BROKERS={address} " in up.stdout
    create_topics(address, [TOPIC])
    assert command("down").returncode == 0
    assert not answers(address, 0.2)
    assert command("down").returncode == 0, "there is nothing to stop"
    assert command("up").returncode == 0
    assert TOPIC in AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).topics
    assert command("reset").returncode == 0
    assert not answers(address, 0.2)
    assert not (session_directory / "development-broker").exists()


def test_a_port_that_another_broker_has_is_refused_in_one_line(
    command: Command, port: int, session_directory: Path
) -> None:
    """Rather than two brokers that fight over it; the first one goes on."""
    assert command("up").returncode == 0
    other = command("up", "--data", str(session_directory / "other-broker"))
    assert other.returncode == 1
    assert other.stderr.startswith(f"kafka: another broker has 127.0.0.1:{port}")
    assert answers(f"127.0.0.1:{port}", 10)


def test_the_makefile_calls_it() -> None:
    """Its three targets, on the documented port."""
    told = subprocess.run(
        ["make", "-n", "kafka-up", "kafka-down", "kafka-reset"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    for what in ("up", "down", "reset"):
        assert f"-m scripts.kafka {what}\n" in told
    usage = subprocess.run(
        [sys.executable, "-m", "scripts.kafka", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "127.0.0.1:29092" in usage

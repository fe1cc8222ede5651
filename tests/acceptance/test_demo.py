"""`waybill demo`: the main job in one command, for every blueprint, which leaves nothing behind."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.acceptance.processes import OFFSETS, free_port_base
from tests.kafka.broker import running_broker

SEEN = {
    "choreography": (
        *("STOCK_RESERVED > CONFIRMED", "STOCK_RESERVED > CANCELLED", "PENDING > CANCELLED"),
        *(
            "cancelled while it is paid",
            "201, then 200",
            "another body: 409",
            "confirmed order: 409",
        ),
        *("captured", "refunded", " sold"),
    ),
    "orchestration": (
        *("PAID > CONFIRMED", "PAID > FAILED", "PROCESSING > FAILED", "cancelled while it is paid"),
        *("202, then 409 which names", "confirmed order: 409", "captured", "refunded", " sold"),
    ),
    "reservation": (
        *("PENDING > CONFIRMED", "PENDING > FAILED", "CONFIRMED > CANCELED"),
        *("201, then 200", "another body: 422", "reserved for confirmed orders"),
    ),
    "reservation-paid": (
        *("PENDING > CONFIRMED", "PENDING > FAILED", "PENDING > CANCELED", "CONFIRMED > CANCELED"),
        *("another body: 422", "captured", "refunded", "reserved for confirmed orders"),
    ),
    "notify": (
        *("PLACED > NOTIFIED", "the other side is away", "(no order)", "200, then 200"),
        *("another body: 409", "reserved for confirmed orders"),
    ),
    "checkout": (
        *(" 201 ", " 202 ", " 402 ", "PENDING > CONFIRMED > CANCELLED", "PENDING > CANCELLED"),
        *("the other side is away", "away, and cancelled meanwhile", ", then 20"),
        *("confirmed order: 409", "captured", "refunded", " sold"),
    ),
}
"""What is to be seen of each blueprint: its statuses, its answers, its sums."""

LONG = [
    name if name == "choreography" else pytest.param(name, marks=pytest.mark.long) for name in SEEN
]
"""On the outbox log `make test` plays the default one."""


def standing_in(directory: Path) -> list[int]:
    """The processes whose working directory is below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(directory):
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def played(directory: Path, blueprint: str, **environment: str) -> str:
    """What the demo of a blueprint shows; nothing of it is left."""
    home, base = directory / "home", free_port_base()
    home.mkdir(mode=0o711)
    shown = subprocess.run(
        [
            *(sys.executable, "-m", "waybill", "demo", "--blueprint", blueprint),
            *("--port-base", str(base)),
        ],
        env={**os.environ, **environment, "TMPDIR": str(home)},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    assert list(home.iterdir()) == []
    assert standing_in(home) == []
    for offset in OFFSETS.values():
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", base + offset))
    return shown.stdout


def check(shown: str, blueprint: str) -> None:
    """Every kind of order was seen, the sums hold, and the audit has the last word."""
    for words in (f"{blueprint}: ", *SEEN[blueprint]):
        assert words in shown, f"{words!r} is not in\n{shown}"
    assert re.search(r"first confirmed order after \d+\.\d s", shown)
    assert re.search(r"audit: clean: \d\d rules hold", shown)


@pytest.mark.parametrize("blueprint", LONG)
def test_the_demo_shows_every_outcome_and_leaves_nothing(
    data_directory: Path, blueprint: str
) -> None:
    """Status 0 only if the sums hold; no process, port or file of it is left."""
    check(played(data_directory.parent, blueprint), blueprint)


@pytest.mark.long
@pytest.mark.parametrize("blueprint", SEEN)
def test_the_demo_runs_on_kafka(data_directory: Path, blueprint: str) -> None:
    """With KAFKA_BROKERS the same orders take the same ways, and the audit reads the topics too."""
    with running_broker(data_directory / "broker") as broker:
        shown = played(data_directory.parent, blueprint, KAFKA_BROKERS=broker.bootstrap)
    check(shown, blueprint)
    assert f"on Kafka at {broker.bootstrap}" in shown

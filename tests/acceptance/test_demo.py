"""`waybill demo`: the main job in one command, which leaves nothing behind."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.acceptance.processes import OFFSETS, free_port_base


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


def test_the_demo_shows_every_outcome_and_leaves_nothing(data_directory: Path) -> None:
    """Issue item 1: status 0 only if the sums hold; no process, port or file of it is left."""
    home, base = data_directory.parent / "home", free_port_base()
    home.mkdir(mode=0o711)
    shown = subprocess.run(
        [sys.executable, "-m", "waybill", "demo", "--port-base", str(base)],
        env={**os.environ, "TMPDIR": str(home)},
        cwd=data_directory.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    for words in ("CONFIRMED", "CANCELLED", "201, then 200", "409", "captured", "refunded"):
        assert words in shown.stdout
    assert re.search(r"audit: clean: 3\d rules hold", shown.stdout)
    assert re.search(r"first confirmed order after \d+\.\d s", shown.stdout)
    assert list(home.iterdir()) == []
    assert standing_in(home) == []
    for offset in OFFSETS.values():
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", base + offset))

"""One run of some tests over a copy of src/, in a process of its own that surely ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
PASSED, FAILED = 0, 1
"""Of pytest's exit statuses; every other one says that tests could not be run."""

TEAR_DOWN_SECONDS_MAX = 30.0
"""For pytest to stop its servers after it was told to end."""

_FAILED = re.compile(r"^FAILED tests/(\S+(?:\[.*?\])?)(?: - (.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Trial:
    """How a run ended. `test` is the first that failed, with its `reason`; None: out of time."""

    status: int | None
    seconds: float
    output: str
    test: str | None = None
    reason: str = ""


@contextmanager
def copied_source() -> Iterator[Path]:
    """A copy of src/ that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="waybill-mutant-") as directory:
        # What a test starts as another user imports it, too.
        Path(directory).chmod(0o755)
        copy = Path(directory) / "src"
        shutil.copytree(ROOT / "src", copy)
        yield copy


def try_tests(source: Path, tests: Sequence[str], *, seconds_max: float) -> Trial:
    """Run these tests with `source` in place of src/, until one fails."""
    _check_import(source)
    # The plugins are slow to load, and the tests of the catalogue need none of them.
    unused = [f"-pno:{name}" for name in ("cacheprovider", "schemathesis", "hypothesispytest")]
    command = ["pytest", "-x", "-q", "-rf", *unused]
    begun = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own tests
        [sys.executable, "-m", *command, *(f"tests/{test}" for test in tests)],
        cwd=ROOT,
        env=_environment(source),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds_max)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        output, status = _end(process), None
    except BaseException:
        _end(process)
        raise
    found = _FAILED.search(output) if status == FAILED else None
    test, reason = (found.group(1), found.group(2) or "") if found else (None, "")
    return Trial(status, time.monotonic() - begun, output, test, reason)


def _environment(source: Path) -> dict[str, str]:
    """Processes that the tests start inherit it."""
    return {
        **os.environ,
        "PYTHONPATH": str(source),
        "COLUMNS": "200",
        # A failing example is the mutant's, no run of ours shall begin with it.
        "HYPOTHESIS_STORAGE_DIRECTORY": str(source.parent / "hypothesis"),
    }


def _check_import(source: Path) -> None:
    """The copy is what is tested, or all that follows means nothing."""
    found = subprocess.run(
        [sys.executable, "-c", "import waybill; print(waybill.__file__)"],
        cwd=ROOT,
        env=_environment(source),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(found).is_relative_to(source):
        raise RuntimeError(f"tests would import {found} in place of the copy at {source}")


def _end(process: subprocess.Popen[str]) -> str:
    """Have pytest stop what it started, then end whatever is left; what it said."""
    process.send_signal(signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=TEAR_DOWN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    return output

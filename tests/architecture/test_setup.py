"""`scripts/setup` says in one line what a machine lacks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "requirements-setup.lock", "requirements.lock", "requirements-dev.lock")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that was never set up."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def set_up(checkout: Path, python: str, what: str = "runtime") -> subprocess.CompletedProcess[str]:
    """Run it with this Python."""
    return subprocess.run(
        ["bash", "scripts/setup", what],
        cwd=checkout,
        env={"PATH": "/usr/bin:/bin", "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ('case "$*" in *version_info*) exit 1;; *) echo Python 3.9.2;; esac', "3.9.2 is too old"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "has no venv: install it"),
    ],
)
def test_a_python_that_will_not_do_is_named(checkout: Path, answers: str, words: str) -> None:
    """Too old, or Debian's without venv."""
    python = checkout / "python"
    python.write_text(f"#!/bin/sh\n{answers}\n")
    python.chmod(0o755)
    shown = set_up(checkout, str(python))
    assert shown.returncode == 1
    assert shown.stderr.startswith("setup: ")
    assert shown.stderr.count("\n") == 1
    assert words in shown.stderr
    assert not (checkout / ".venv").exists()


def test_no_python_at_all_is_said_so(checkout: Path) -> None:
    """With the package to install."""
    shown = set_up(checkout, "python-that-is-not-there")
    assert shown.returncode == 1
    assert "apt install python3-venv" in shown.stderr


def test_what_is_set_up_is_left_alone(checkout: Path) -> None:
    """A second command costs nothing, and a runtime set-up is not made beside a full one."""
    binaries = checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "waybill").write_text("#!/bin/sh\n")
    (binaries / "waybill").chmod(0o755)
    sums = subprocess.run(
        ["cksum", *FILES], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout
    made_from = f"{checkout}\n{sums}"
    (checkout / ".venv" / ".waybill-dev").write_text(made_from)
    for what in ("dev", "runtime"):
        shown = set_up(checkout, "python-that-is-not-there", what)
        assert (shown.returncode, shown.stderr) == (0, "")

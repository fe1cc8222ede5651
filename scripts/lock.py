"""Pins every dependency with its hashes, for all platforms.

`python scripts/lock.py` resolves again and asks the registry; with `--check` it compares with
pyproject.toml and asks nobody.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.11"
UV = "uv==0.13.9"
BUILD = ("hatchling>=1.27", "editables>=0.5")
"""What installs this checkout itself, so that its set-up needs nothing unpinned."""

MARK = "# made from: "


def main(arguments: Sequence[str]) -> int:
    """Write the locks, or with --check compare them; the exit status."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    locks = requirements(project)
    if "--check" in arguments:
        return check(locks)
    for name, wanted in locks.items():
        write(name, wanted)
    return 0


def requirements(project: dict[str, Any]) -> dict[str, list[str]]:
    """What each lock file pins."""
    runtime = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["commerce"],
        *project["project"]["optional-dependencies"]["dns"],
        *project["project"]["optional-dependencies"]["kafka"],
        *project["project"]["optional-dependencies"]["mysql"],
        *project["project"]["optional-dependencies"]["redis"],
        *BUILD,
    ]
    return {
        "requirements-setup.lock": [UV],
        "requirements.lock": runtime,
        "requirements-dev.lock": [*runtime, UV, *project["dependency-groups"]["dev"]],
        "benchmarks/requirements.lock": project["dependency-groups"]["benchmarks"],
    }


def fingerprint(wanted: list[str]) -> str:
    """Changes whenever a lock must be made again."""
    return hashlib.sha256(json.dumps([PYTHON, sorted(wanted)]).encode()).hexdigest()


def check(locks: dict[str, list[str]]) -> int:
    """Say which locks no longer fit pyproject.toml."""
    stale = [
        name
        for name, wanted in locks.items()
        if f"{MARK}{fingerprint(wanted)}" not in (ROOT / name).read_text().splitlines()[:3]
    ]
    if stale:
        sys.stderr.write(f"{', '.join(stale)} no longer fit pyproject.toml: run make lock\n")
    return 1 if stale else 0


def write(name: str, wanted: list[str]) -> None:
    """Resolve one lock; the development lock keeps the versions of the run-time one."""
    with tempfile.TemporaryDirectory() as scratch:
        source, result = Path(scratch, "wanted.in"), Path(scratch, "lock")
        source.write_text("\n".join(wanted) + "\n")
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", str(source), "-o", str(result)),
            *("--universal", "--python-version", PYTHON, "--generate-hashes", "--quiet"),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
        ]
        if name == "requirements-dev.lock":
            command += ["--constraint", str(ROOT / "requirements.lock")]
        subprocess.run(command, check=True, cwd=scratch)  # noqa: S603 - our own command
        header = f"{MARK}{fingerprint(wanted)}\n# Written by scripts/lock.py; do not edit.\n"
        (ROOT / name).write_text(header + result.read_text())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Pins every dependency with its hashes, for all platforms.

`python scripts/lock.py` resolves again and asks the registry; with `--check` it compares with
pyproject.toml, sees that nobody changed a lock by hand and that every package has its hashes, and
asks nobody.
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
WHOLE = "# sha256 of what follows: "


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
    """Say which locks no longer fit pyproject.toml, or are not as they were written."""
    wrong = []
    for name, wanted in locks.items():
        made, written, whole, *packages = (ROOT / name).read_text().split("\n", 3)
        body = "".join(packages)
        if made != f"{MARK}{fingerprint(wanted)}":
            wrong.append(f"{name} no longer fits pyproject.toml")
        elif f"{made}\n{written}\n{whole}\n" != header(wanted, body):
            wrong.append(f"{name} was changed by hand")
        elif unpinned(body):
            wrong.append(f"{name} has packages without hashes: {', '.join(unpinned(body))}")
    for each in wrong:
        sys.stderr.write(f"{each}: run make lock\n")
    return 1 if wrong else 0


def header(wanted: list[str], body: str) -> str:
    """What a lock begins with."""
    whole = hashlib.sha256(body.encode()).hexdigest()
    return (
        f"{MARK}{fingerprint(wanted)}\n# Written by scripts/lock.py; do not edit.\n{WHOLE}{whole}\n"
    )


def unpinned(body: str) -> list[str]:
    """The packages that could be something else tomorrow."""
    lines = body.replace("\\\n", " ").splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    return [
        line.split()[0] for line in packages if "==" not in line or "--hash=sha256:" not in line
    ]


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
        body = result.read_text()
        (ROOT / name).write_text(header(wanted, body) + body)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Refuses a change of an event's schema that breaks one which was ever committed, or takes it away.

A schema is published with its commit: its records may be in somebody's topics. So contracts/events
is compared with every version of it that the history of this clone holds; whoever edits the file
and the code in one commit is found as well. A shallow clone holds less: CI fetches all. A version
that was taken back before anybody could use it is named in contracts/withdrawn.txt, with why.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from waybill.blueprints.compatibility import breaks

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = Path("contracts/events")
WITHDRAWN = SCHEMAS.parent / "withdrawn.txt"
WHAT_TO_DO = (
    "give the event a new version and an upcast, and leave the old schema as it was "
    "(docs/blueprints/writing-one.md)"
)


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - git
    return done.stdout


def published(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of every version of every schema in the history; each once."""
    log = _git(
        *(root, "log", "-m", "--format=", "--raw", "--no-renames", "--no-abbrev", "HEAD"),
        *("--", str(SCHEMAS)),
    )
    versions = set()
    for line in log.splitlines():
        _, _, _, blob, change, path = line.split(maxsplit=5)
        if change != "D" and path.endswith(".json"):
            versions.add((path, blob))
    withdrawn = _withdrawn(root)
    for path, blob in sorted(versions):
        if blob not in withdrawn:
            yield path, _git(root, "cat-file", "blob", blob)


def _withdrawn(root: Path) -> frozenset[str]:
    file = root / WITHDRAWN
    lines = file.read_text().splitlines() if file.is_file() else []
    return frozenset(line.split()[0] for line in lines if line and not line.startswith("#"))


def broken(root: Path) -> list[str]:
    """One line a change that somebody would notice."""
    found: dict[str, None] = {}
    for path, before in published(root):
        file = root / path
        if not file.is_file():
            found[f"{path}: was published, and is gone"] = None
            continue
        for change in breaks(json.loads(before), json.loads(file.read_text())):
            found[f"{path}: {change}"] = None
    return list(found)


def main(root: Path = ROOT) -> int:
    """The exit status."""
    try:
        is_shallow = _git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    except (OSError, subprocess.CalledProcessError):
        sys.stdout.write("no history here: published schemas were not compared\n")
        return 0
    changes = broken(root)
    for change in changes:
        sys.stderr.write(f"{change}\n")
    if changes:
        sys.stderr.write(f"readers and writers of these events would break: {WHAT_TO_DO}\n")
    elif is_shallow:
        sys.stdout.write("a shallow clone: compared with the commits that it holds\n")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))

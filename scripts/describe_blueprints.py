"""Writes the files that describe the blueprints: docs/blueprints and contracts/events.

Refuses, and writes nothing, if a published schema of an event would break: that is a new version
of the event, with an upcast from the old one (docs/blueprints/writing-one.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

from waybill.platform.descriptions import broken, files

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write what differs; the exit status."""
    described = files()
    changes = broken(ROOT, described)
    for change in changes:
        sys.stderr.write(f"{change}\n")
    if changes:
        sys.stderr.write(
            "nothing was written: readers and writers of these events would break. Give the event "
            "a new version and an upcast, or keep its members as they were\n"
        )
        return 1
    for path, text in described.items():
        file = ROOT / path
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

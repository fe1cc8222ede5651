"""What may not stand anywhere in the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REGISTRIES = re.compile(
    r"pypi\.(org|python)|files\.pythonhosted|npmjs\.|crates\.io|proxy\.golang|repo1?\.maven"
    r"|--(extra-)?index-url[= ]|--find-links[= ]|deb\.debian\.org",
    re.IGNORECASE,
)


def files(*patterns: str) -> list[Path]:
    """The files of the repository, committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_registry_is_named() -> None:
    """Packages are asked for by name; where they come from is the machine's own setting."""
    named = {
        str(path.relative_to(ROOT)): found.group()
        for path in files()
        if path != Path(__file__).resolve() and "swagger_ui" not in path.parts
        for found in [REGISTRIES.search(path.read_text(errors="replace"))]
        if found
    }
    assert not named


def test_every_package_in_a_lock_is_pinned_by_hashes() -> None:
    """What a set-up installs is what was tested, byte for byte."""
    locks = files("requirements*.lock", "benchmarks/requirements.lock")
    assert len(locks) == 4
    for lock in locks:
        text = lock.read_text().replace("\\\n", " ")
        packages = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert packages
        assert all("==" in line and "--hash=sha256:" in line for line in packages), lock


def test_every_module_says_what_it_guarantees() -> None:
    """Each file under src opens with a docstring."""
    silent = [
        path
        for path in files("src/**/*.py")
        if not path.read_text().lstrip().startswith(('"""', 'r"'))
    ]
    assert not silent

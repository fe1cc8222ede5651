"""What may not stand anywhere in the repository."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    "requirements-setup.lock",
    "requirements.lock",
    "requirements-dev.lock",
    "benchmarks/requirements.lock",
)
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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make check` compares, to be changed."""
    for name in (*LOCKS, "pyproject.toml", "sbom.cdx.json", "scripts/lock.py", "scripts/sbom.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def checked(checkout: Path, script: str) -> str:
    """What the check says; nothing if all is well."""
    done = subprocess.run(
        [sys.executable, checkout / "scripts" / script, "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not done.stderr)
    return done.stderr


def test_every_package_in_a_lock_is_pinned_by_hashes(checkout: Path) -> None:
    """What a set-up installs is what was tested, byte for byte; a lock changed by hand is told."""
    assert {str(path.relative_to(ROOT)) for path in files("*.lock")} == set(LOCKS)
    assert checked(checkout, "lock.py") == ""
    lock = checkout / "requirements.lock"
    text = lock.read_text()
    lock.write_text(text.replace("--hash=sha256:0", "--hash=sha256:1", 1))
    assert checked(checkout, "lock.py") == (
        "requirements.lock was changed by hand: run make lock\n"
    )
    lock.write_text(text.replace("# made from: ", "# made from: 0", 1))
    assert "requirements.lock no longer fits pyproject.toml" in checked(checkout, "lock.py")


def test_a_package_without_a_hash_is_told() -> None:
    """Also if whoever wrote the lock left it out."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        lock = importlib.import_module("lock")
    finally:
        sys.path.pop(0)
    body = "a==1 \\\n    --hash=sha256:00\nb==2\nc>=3 --hash=sha256:00\n# a remark\n"
    assert lock.unpinned(body) == ["b==2", "c>=3"]


def test_the_bill_of_materials_is_of_the_lock(checkout: Path) -> None:
    """Every package of requirements.lock by name and version; another lock is told."""
    assert checked(checkout, "sbom.py") == ""
    bill = json.loads((checkout / "sbom.cdx.json").read_text())
    pinned = re.findall(
        r"^([^=\s]+)==([^\s]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    assert pinned
    assert {(each["name"], each["version"]) for each in bill["components"]} == set(pinned)
    lock = checkout / "requirements.lock"
    lock.write_text(lock.read_text().replace("alembic==1", "alembic==2"))
    assert checked(checkout, "sbom.py") == (
        "sbom.cdx.json is not of this requirements.lock: run make lock\n"
    )


def test_every_module_says_what_it_guarantees() -> None:
    """Each file under src opens with a docstring."""
    silent = [
        path
        for path in files("src/**/*.py")
        if not path.read_text().lstrip().startswith(('"""', 'r"'))
    ]
    assert not silent

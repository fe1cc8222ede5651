"""A schema that was ever committed is not broken by a later commit, whatever else that changes."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = Path("contracts/events/shop/OrderCreated.v1.json")
FIRST: dict[str, Any] = {
    "title": "OrderCreated",
    "type": "object",
    "properties": {"orderId": {"type": "string"}},
    "required": ["orderId"],
}


check = runpy.run_path(str(ROOT / "scripts" / "published.py"))["main"]


class Repository:
    """A repository of its own, with a schema in its second commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet")
        self.commit("README.md", "A shop")
        self.commit(SCHEMA, json.dumps(FIRST))

    def git(self, *arguments: str) -> str:
        """Run it as somebody; what it says."""
        somebody = ("-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.root), *somebody, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def commit(self, path: Path | str, text: str | None) -> None:
        """Write or delete a file, and commit that."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"{path}")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """One of this test alone."""
    return Repository(tmp_path)


def test_an_addition_is_taken_and_a_break_is_refused(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even two commits later, and when the file and what writes it were changed in one commit."""
    added = FIRST | {"properties": {**FIRST["properties"], "colour": {"type": "string"}}}
    repository.commit(SCHEMA, json.dumps(added))
    assert check(repository.root) == 0
    other = FIRST | {"properties": {"orderId": {"type": "integer"}}}
    repository.commit(SCHEMA, json.dumps(other))
    repository.commit("README.md", "Another shop")
    assert check(repository.root) == 1
    told = capsys.readouterr().err
    assert f"{SCHEMA}: " in told
    assert "give the event a new version" in told


def test_a_schema_that_is_taken_away_is_refused(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its records are in topics still; a newer version beside it changes nothing."""
    repository.commit(SCHEMA.with_name("OrderCreated.v2.json"), json.dumps(FIRST))
    repository.commit(SCHEMA, None)
    assert check(repository.root) == 1
    assert capsys.readouterr().err.splitlines()[0] == f"{SCHEMA}: was published, and is gone"


def test_a_version_that_was_taken_back_is_passed_over(repository: Repository) -> None:
    """It is named with its reason: an error on a branch must not stay for ever."""
    repository.commit(SCHEMA, json.dumps(FIRST | {"required": []}))
    blob = repository.git("rev-parse", f"HEAD:{SCHEMA}").strip()
    repository.commit(SCHEMA, json.dumps(FIRST))
    assert check(repository.root) == 1
    repository.commit(SCHEMA.parents[2] / "withdrawn.txt", f"# Why\n{blob} nobody had seen it\n")
    assert check(repository.root) == 0


def test_without_a_history_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source archive can be checked too."""
    assert check(tmp_path) == 0
    assert capsys.readouterr().out.startswith("no history here")


def test_ci_has_the_history() -> None:
    """A shallow clone would have nothing to compare with."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["check"]["steps"][0]["with"]["fetch-depth"] == 0
    assert "scripts/published.py" in (ROOT / "scripts" / "check").read_text()

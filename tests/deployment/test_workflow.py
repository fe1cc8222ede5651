"""The workflow file: by its schema, and against the commands that it calls."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
import yaml
from scripts.kafka.machine import PACKAGES

from waybill.cli import app

if TYPE_CHECKING:
    from tests.deployment.reading import Services

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".github/workflows/ci.yml"
MINUTES_MAX = 90


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    """The file."""
    parsed = yaml.safe_load(FILE.read_text())
    assert isinstance(parsed, dict)
    return parsed


@pytest.fixture(scope="module")
def jobs(workflow: dict[Any, Any]) -> dict[str, dict[str, Any]]:
    """Its jobs by name."""
    found: dict[str, dict[str, Any]] = workflow["jobs"]
    return found


def shell(job: dict[str, Any]) -> str:
    """Everything that a job runs."""
    return "\n".join(step.get("run", "") for step in job["steps"])


@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_it_is_a_workflow(schema: str) -> None:
    """By the schemas that check-jsonschema brings along; every job has a time limit."""
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_what_it_calls_exists(jobs: dict[str, dict[str, Any]], containers: Services) -> None:
    """Targets of the Makefile, commands with their options, containers of compose.yaml."""
    text = "\n".join(shell(job) for job in jobs.values())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
    known: Any = typer.main.get_command(app)
    called = re.findall(r"bin/waybill ([a-z-]+)(.*)", text)
    assert {name for name, _ in called} == {"seed", "lag", "audit"}
    for name, rest in called:
        options = {option for each in known.commands[name].params for option in each.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options
    (rolled,) = re.findall(r"for service in ([a-z -]+);", text)
    assert set(rolled.split()) == {name for name in containers if name.endswith("-service")}


def test_checks_tests_and_staging_come_before_publishing(jobs: dict[str, dict[str, Any]]) -> None:
    """R272, R273: what is published was linted, tested, rolled over, and nobody lagged behind."""
    publish = jobs["publish"]
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert publish["needs"] == ["check", "test", "scan", "staging"]
    assert "make check" in shell(jobs["check"])
    assert "make test\n" in shell(jobs["test"]) + "\n"
    staging = shell(jobs["staging"])
    order = [
        "compose build",
        "up --detach --wait",
        "--force-recreate",
        "waybill lag",
        "docker save",
    ]
    places = [staging.index(word) for word in order]
    assert places == sorted(places)


def test_the_fault_tests_run_on_a_schedule_in_shards(
    workflow: dict[Any, Any], jobs: dict[str, dict[str, Any]]
) -> None:
    """All of them, none longer than 90 minutes."""
    assert workflow[True]["schedule"]  # YAML 1.1 reads `on` as true
    faults = jobs["faults"]
    shards = faults["strategy"]["matrix"]["shard"]
    assert shards == [f"{number}/{len(shards)}" for number in range(1, len(shards) + 1)]
    assert "make test-faults SHARD=${{ matrix.shard }}" in shell(faults)
    assert all(job["timeout-minutes"] <= MINUTES_MAX for job in jobs.values())


@pytest.mark.parametrize("name", ["test", "faults"])
def test_what_tests_need_is_installed_before_them(
    jobs: dict[str, dict[str, Any]], name: str
) -> None:
    """The packages that tests would install one by one, and no other."""
    engines = re.findall(r"^engine (\S+)", (ROOT / "scripts/setup").read_text(), re.MULTILINE)
    (installed,) = re.findall(r"sudo apt-get install (.*)\n", shell(jobs[name]))
    named = sorted(word for word in installed.split() if not word.startswith("-"))
    assert named == sorted({*PACKAGES.values(), *engines})
    tests = [job for job in jobs if re.search(r"make test", shell(jobs[job]))]
    assert tests == ["test", "faults"]


def test_every_long_test_is_in_some_shard() -> None:
    """`make test-faults` names each file that has one."""
    makefile = (ROOT / "Makefile").read_text()
    (command,) = re.findall(r"pytest (tests/.*?) -m 'long or both'", makefile)
    named = command.split()
    marked = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"\bmark\.(long|both)\b", path.read_text())
    ]
    assert marked
    assert [path for path in marked if not path.startswith(tuple(named))] == []


def test_it_holds_no_secret_and_few_rights(
    workflow: dict[Any, Any], jobs: dict[str, dict[str, Any]]
) -> None:
    """R274: credentials are the repository's secrets; nothing from outside reaches a shell."""
    assert workflow["permissions"] == {"contents": "read"}
    text = "\n".join(shell(job) for job in jobs.values())
    assert set(re.findall(r"\$\{\{ *([\w.]+)", text)) == {"matrix.shard"}
    given = [
        str(step["with"]["password"]) for step in jobs["publish"]["steps"] if "login" in str(step)
    ]
    assert given == ["${{ secrets.REGISTRY_PASSWORD }}"]


def test_what_is_locked_is_looked_up_and_secrets_are_looked_for(
    jobs: dict[str, dict[str, Any]],
) -> None:
    """By scanners of one version each, over the whole history, on every run and the schedule."""
    scan = jobs["scan"]
    assert "if" not in scan
    assert scan["steps"][0]["with"] == {"fetch-depth": 0, "persist-credentials": False}
    assert re.search(
        r"pip-audit@[\d.]+ --strict .*--require-hashes --requirement requirements\.lock",
        shell(scan),
    )
    assert re.fullmatch(r"github\.com/[\w/]+@v[\d.]+", scan["env"]["GITLEAKS"])
    assert 'go run "$GITLEAKS" git --redact' in shell(scan)


def test_every_action_is_pinned_by_version(jobs: dict[str, dict[str, Any]]) -> None:
    """A branch's name would be whatever it is that day."""
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used)

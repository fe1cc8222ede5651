"""The workflow file: by its schema, and against the commands that it calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
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
ORDERING = ROOT / "scripts/ordering"
UNTIL = """until [ "$(wc -l <"$0")" -ge 4 ]; do sleep 0.02; done 2>/dev/null; exit 7"""
"""A command that ends with 7 when the service was asked four times."""
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


def test_orders_are_placed_while_each_service_is_replaced(
    jobs: dict[str, dict[str, Any]],
) -> None:
    """Not before and after it: the replacing is what the orders are placed along with."""
    (line,) = [line for line in shell(jobs["staging"]).splitlines() if "--force-recreate" in line]
    assert line.strip().startswith("scripts/ordering docker compose up ")
    assert ORDERING.exists()


def test_an_order_is_repeated_with_its_key_until_it_is_taken(tmp_path: Path) -> None:
    """By scripts/ordering, while nobody listens and while it is refused; it ends as the command."""
    told, keys = tmp_path / "keys", list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Idempotency-Key"])
            self.send_response(201 if len(keys) > 1 else 503)
            self.end_headers()
            told.write_text("\n".join([*keys, ""]))

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False) as server:
        server.server_bind()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}/api/orders"
        ordering = subprocess.Popen(
            [ORDERING, "timeout", "30", "sh", "-c", UNTIL, told],
            env={**os.environ, "ORDERS_URL": url},
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.2)  # it finds nobody; were it slower, it would find somebody
        server.server_activate()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said, _ = ordering.communicate(timeout=60)
        server.shutdown()
    assert ordering.returncode == 7
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(keys) - 1 >= 3
    assert f"{len(keys) - 1} orders were placed" in said


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


@pytest.mark.long
@pytest.mark.parametrize("service", ["inventory", "orchestrator"])
def test_a_services_tests_can_be_run_alone(service: str) -> None:
    """R251, R257: `make test SERVICE=inventory` selects its tests; collected only."""
    makefile = (ROOT / "Makefile").read_text()
    (line,) = [each for each in makefile.splitlines() if "-k '$(SERVICE)'" in each]
    folders = re.findall(r"tests/\w+", line)
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *folders, "-k", service, "--collect-only", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    chosen = [each for each in found if "::" in each]
    assert all(service in each for each in chosen)
    assert len(chosen) > 5
    assert "deselected" in found[-1]


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

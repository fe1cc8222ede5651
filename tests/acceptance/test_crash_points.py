"""Every crash point with every action, on one platform of each blueprint under load; the books.

A kill costs a start each: six points of the default blueprint by default; all points, actions and
blueprints in `make test-faults`.
Each point and action alone, on data of its own, is test_every_crash_point.py's.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.books import audited as books
from tests.acceptance.crashing import (
    DEADLINE_SOON,
    RUNNER,
    ArmedPlatform,
    Customers,
    die_at,
    discard_garbage,
    pass_by,
)
from tests.acceptance.database import rows, rows_at
from tests.acceptance.processes import free_port_base, wait_for
from tests.acceptance.stages import CHOREOGRAPHY, STAGES
from tests.acceptance.test_examples import all_reminded, answers, book, reminders, running

from waybill.messaging.testing.crash_control import marks
from waybill.messaging.testing.crash_points import ACTIONS
from waybill.operations.audit import AuditOptions, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.stages import Stage
    from tests.conftest import TestDatabases

pytestmark = pytest.mark.acceptance

POINTS = CHOREOGRAPHY.points
assert not CHOREOGRAPHY.unreached
BETWEEN = [
    *("intake.after_commit", "consumer.after_commit", "redrive.after_commit"),
    *("delivery.after_call", "settle.before_commit", "mail.after_send"),
]
"""The points at which it hurts most: the act is done, and nobody knows."""
assert set(BETWEEN) <= set(POINTS)
ERRORS = [action for action in ACTIONS if action != "kill"]
on_each = partial(pytest.mark.parametrize, "platform", indirect=True, scope="module")
"""Of tests of a platform; the names of their cases are those of blueprints."""


@pytest.fixture(scope="module")
def platform(
    request: pytest.FixtureRequest, session_directory: Path, provisioned_data: Path
) -> Iterator[ArmedPlatform]:
    """One platform of a blueprint for all its points, on data of its own."""
    stage: Stage = request.param
    directory = Path(tempfile.mkdtemp(prefix="crash-points-", dir=session_directory))
    directory.chmod(0o711)
    stage.copy(provisioned_data, directory / "data")
    made = ArmedPlatform(directory / "data", {**stage.environment, **DEADLINE_SOON}, stage)
    try:
        made.start()
        stage.raise_stock(made.port_base)
        yield made
    finally:
        made.end()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def audited(platform: ArmedPlatform) -> Iterator[Customers]:
    """Customers while the block runs; then a restart, and the books of all there ever was."""
    with Customers(platform) as customers:
        customers.resume()
        yield customers
    platform.kill()
    platform.start()
    customers.settle_unknown()
    discard_garbage(platform)
    assert_balanced(platform, blueprint=platform.stage.blueprint)
    kept = {str(row["id"]) for row in rows(platform.data, "order", "SELECT id FROM app.orders")}
    assert customers.accepted
    assert set(customers.accepted.values()) <= kept


@pytest.mark.long
@on_each([pytest.param(stage, id=stage.name) for stage in STAGES.values()])
@pytest.mark.parametrize("action", ERRORS)
def test_what_goes_wrong_at_any_point_costs_nothing(platform: ArmedPlatform, action: str) -> None:
    """P2, P3, P6: nothing is lost, doubled or stranded, whichever point fails or stands still.

    What a blueprint is said never to come to, it does not come to.
    """
    points = [p for p in platform.stage.points if action != "do_then_fail" or ".before_" in p]
    quiet = [p for p in points if p.startswith("positions.")]  # they need customers to be away
    never = platform.stage.unreached
    for point in never:
        platform.crash.arm("delay", point)
    with audited(platform) as customers, ThreadPoolExecutor(len(points)) as pool:
        reach = partial(pass_by, action=action, platform=platform, customers=customers)
        list(pool.map(reach, [p for p in points if p not in quiet]))
        list(pool.map(reach, quiet))
    assert {point for _, did, point in platform.reached if did == action} >= set(points)
    assert sorted({point for _, _, point in platform.reached} & set(never)) == []


@on_each([pytest.param(CHOREOGRAPHY, id="choreography")])
def test_a_kill_between_an_act_and_its_answer_costs_nothing(platform: ArmedPlatform) -> None:
    """P2, P3, P6: SIGKILL where an order, a charge or a mail could be doubled; see below."""
    die_at_each(BETWEEN, platform)


@pytest.mark.long
@on_each([pytest.param(stage, id=stage.name) for stage in STAGES.values()])
def test_a_kill_at_any_point_costs_nothing(platform: ArmedPlatform) -> None:
    """P2, P3, P6: SIGKILL at each point in turn, under load, a start, and the books."""
    die_at_each(platform.stage.points, platform)


def die_at_each(points: list[str], platform: ArmedPlatform) -> None:
    """The books as they stand after each; those that need an end of all orders after the last."""
    always = AuditOptions(kinds=frozenset({Kind.ALWAYS}), blueprint=platform.stage.blueprint)
    with audited(platform) as customers:
        for point in points:
            die_at(point, platform, customers)
            platform.start()
            report = books(platform.data, always)
            assert report.exit_status == 0, f"killed at {point}: {report.told()}"


def test_a_service_of_a_librarys_user_dies_at_the_point_that_was_named(
    databases: TestDatabases, tmp_path: Path
) -> None:
    """P3 in a user's own process: killed by the runner behind its third commit, nothing doubles."""
    url, port, log = databases.template("crash-clinic"), free_port_base(), tmp_path / "log"
    clinic = ("uvicorn", "clinic:app", "--port", str(port))
    where = ("--point", "consumer.after_commit", "--match", "reminders", "--nth", "3")
    runner = (RUNNER, *where, "--marks", str(tmp_path / "marks"), "--")
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        command = [sys.executable, "-m", *runner, *clinic]
        with running(command, log, {"DATABASE_URL": url}) as process:
            wait_for(partial(answers, client), 30, "the clinic answers")
            with suppress(httpx2.TransportError):
                while True:
                    book(client, patient=1)
            assert process.wait(timeout=30) == -signal.SIGKILL
        assert [mark["point"] for mark in marks(tmp_path / "marks")] == ["consumer.after_commit"]
        with running([sys.executable, "-m", *clinic], log, {"DATABASE_URL": url}):
            wait_for(partial(answers, client), 30, "the clinic answers")
            visits = [row["id"] for row in rows_at(url, "SELECT id FROM visits ORDER BY id")]
            wait_for(partial(all_reminded, client, len(visits)), 30, "reminders")
            assert reminders(client) == visits

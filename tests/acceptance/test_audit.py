"""`waybill audit` on a running platform: under load, at rest, after a lie, without a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.acceptance.books import assert_balanced
from tests.acceptance.database import rows, value
from tests.acceptance.processes import wait_for
from tests.acceptance.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.processes import PlatformProcess

LOOKS = 3
ORDERS = 30
GAP_SECONDS = 0.1
ONE = "SELECT order_id FROM app.notifications ORDER BY order_id LIMIT 1"


def test_kind_a_holds_while_orders_flow_and_a_lie_is_named(
    make_platform: Callable[..., PlatformProcess],
) -> None:
    """Status 0 under load and at rest, 1 with the row named, 2 if not quiescent."""
    platform = make_platform(WAYBILL_PAYMENT_DELAY_SECONDS="0.2").start()
    platform.raise_stock()
    with Traffic(platform, gap_seconds=GAP_SECONDS) as traffic:
        traffic.resume()
        wait_for(lambda: len(traffic.accepted) > ORDERS, 60, "orders")
        for _ in range(LOOKS):
            before = len(traffic.accepted)
            looked = platform.run("audit", "--kind", "A")
            assert looked.returncode == 0, looked.stdout + looked.stderr
            wait_for(lambda seen=before: len(traffic.accepted) > seen, 30, "orders went on")  # type: ignore[misc] # a loop's variable
        whole = platform.run("audit", "--json")
        assert whole.returncode == 2, whole.stdout
        found = json.loads(whole.stdout)
        assert (found["status"], found["quiescent"]) == ("incomplete", False)
    assert_balanced(platform, history=traffic.history())
    at_rest = platform.run("audit", "--settle", "30")
    assert at_rest.returncode == 0, at_rest.stdout
    assert "audit: clean" in at_rest.stdout
    victim = value(platform.data, "notification", ONE)
    rows(platform.data, "notification", "DELETE FROM app.notifications WHERE order_id = $1", victim)
    lied = platform.run("audit")
    assert lied.returncode == 1
    assert "I42" in lied.stdout.splitlines()[-1]
    assert f"order_id={victim}" in lied.stdout
    assert f"WHERE order_id = '{victim}'" in lied.stdout
    assert lied.stderr == ""
    platform.kill()
    down = platform.run("audit", "--kind", "A")
    assert down.returncode == 0, down.stderr  # PostgreSQL is borrowed for the audit


def test_what_cannot_run_says_so_in_one_line(
    make_platform: Callable[..., PlatformProcess], tmp_path: Path
) -> None:
    """Status 2 and one clear line on stderr, nothing on stdout."""
    platform = make_platform()
    history = tmp_path / "history"
    history.write_text("no json\n")
    for arguments, told in (
        (("--history", str(history)), "line 1"),
        (("--kind", "X"), "A,Q,H"),
        (("--kind", "H"), "--history FILE"),
    ):
        answer = platform.run("audit", *arguments)
        assert answer.returncode == 2, answer.stdout
        assert told in answer.stderr
        assert "Traceback" not in answer.stderr
        assert answer.stdout == ""
    platform.data = tmp_path / "nowhere"
    missing = platform.run("audit")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "holds no data" in missing.stderr
    matrix = platform.run("audit", "--matrix")
    assert matrix.returncode == 0
    assert "rules apply to choreography" in matrix.stdout

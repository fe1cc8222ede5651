"""`notify` killed wherever an order, its stock, its event, its call or its outcome is written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acceptance.crashing import ArmedPlatform
from tests.acceptance.notify_target import Target
from tests.acceptance.processes import wait_for
from tests.acceptance.test_notify import becomes, calls_about, level, place, stock

from waybill.commerce import crash_points as of_commerce
from waybill.messaging.core.crash_points import registered
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
ON_THE_WAY = ("intake.", "consumer.", "owe.", "settle.", "delivery.before_call")
assert set(of_commerce.POINTS) <= set(registered())
POINTS = [point for point in registered() if point.startswith((*ON_THE_WAY, "delivery.after_call"))]
PRODUCT, UNITS = 21, 1_000_000
REACH_SECONDS = 30


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The service that is notified; it outlives the platform."""
    target = Target()
    yield target
    target.close()


@pytest.fixture(scope="module")
def platform(session_directory: Path, target: Target) -> Iterator[ArmedPlatform]:
    """A running platform of this blueprint whose crash points can be armed."""
    directory = Path(tempfile.mkdtemp(prefix="notify-crashes-", dir=session_directory))
    directory.chmod(0o711)
    environment = {
        "WAYBILL_BLUEPRINT": "notify",
        "NOTIFY_URL": target.url,
        "WAYBILL_ORDER_DEADLINE_SECONDS": "5",
    }
    platform = ArmedPlatform(directory / "data", environment)
    platform.without = frozenset({"payment", "inventory"})
    try:
        platform.start()
        yield platform
    finally:
        platform.end()
        shutil.rmtree(directory, ignore_errors=True)


def test_nothing_is_lost_doubled_or_stranded(platform: ArmedPlatform, target: Target) -> None:
    """R184 to R186: every order that was answered is NOTIFIED once, its stock taken once."""
    stock(platform, PRODUCT, UNITS)
    accepted: dict[str, str] = {}
    doubtful: list[str] = []

    def ask(key: str) -> None:
        answer = place(platform, PRODUCT, **{"Idempotency-Key": key})
        if answer.status_code == 200:
            accepted[key] = answer.json()["orderId"]
        else:
            doubtful.append(key)

    def order_until_killed() -> bool:
        key = str(new_id())
        try:
            ask(key)
        except httpx2.TransportError:
            doubtful.append(key)
        return platform.killed()

    for point in POINTS:
        assert platform.process is not None
        pid = platform.process.pid
        platform.crash.arm("kill", point)
        wait_for(order_until_killed, REACH_SECONDS, f"killed at {point}")
        assert platform.reached[-1] == (pid, "kill", point)
        platform.start()
    for key in doubtful:
        ask(key)
    for order_id in accepted.values():
        becomes(platform, order_id, "NOTIFIED")
        (key,) = set(calls_about(target, order_id))
        assert target.effects.count(key) == 1
    assert level(platform, PRODUCT) == UNITS - len(accepted)
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr

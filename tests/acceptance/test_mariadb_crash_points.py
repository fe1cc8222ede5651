"""`reservation` and `notify` on MariaDB, killed wherever something is written or called."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acceptance import test_notify, test_reservation
from tests.acceptance.crashing import ArmedPlatform
from tests.acceptance.engines import on_engine, provisioned
from tests.acceptance.notify_target import Target
from tests.acceptance.processes import wait_for
from tests.mariadb import SERVERS

from waybill.commerce import crash_points as of_commerce
from waybill.messaging.core.crash_points import registered
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.processes import PlatformProcess

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
EVERYWHERE = ("outbox.", "transaction.", "intake.", "consumer.", "source.", "owe.", "settle.")
CALLS = ("delivery.before_call", "delivery.after_call")
assert set(of_commerce.POINTS) <= set(registered())
REACH_SECONDS = 40
UNITS = 1_000_000


@dataclass(frozen=True)
class Case:
    """A blueprint: how an order is placed, and how it ends."""

    name: str
    without: frozenset[str]
    points: tuple[str, ...]
    stock: Callable[[PlatformProcess], None]
    place: Callable[[PlatformProcess, str], httpx2.Response]
    status: Callable[[PlatformProcess, str], str]
    level: Callable[[PlatformProcess], int]
    sold: str
    ended: frozenset[str]

    @property
    def reached(self) -> list[str]:
        """The points that its orders come to."""
        return [point for point in registered() if point.startswith(self.points)]


def _reserve(platform: PlatformProcess, key: str) -> httpx2.Response:
    """One customer of eight cancels at once."""
    answer = test_reservation.place(platform, "SKU-1", 1, **{"Idempotency-Key": key})
    if answer.is_success and key[-1] in "08":
        order_id = answer.json()["orderId"]
        platform.client.post(f"{platform.url(1)}/api/orders/{order_id}/cancel")
    return answer


CASES = (
    Case(
        name="reservation",
        without=frozenset({"payment"}),
        points=(*EVERYWHERE, *CALLS, "cancel.", "mail."),
        stock=lambda platform: test_reservation.stock(platform, "SKU-1", UNITS),
        place=_reserve,
        status=lambda platform, order_id: platform.order(order_id)["status"],
        level=lambda platform: test_reservation.level(platform, "SKU-1")[0],
        sold="CONFIRMED",
        ended=frozenset({"CONFIRMED", "CANCELED", "FAILED"}),
    ),
    Case(
        name="notify",
        without=frozenset({"payment", "inventory"}),
        points=(*EVERYWHERE, *CALLS),
        stock=lambda platform: test_notify.stock(platform, 21, UNITS),
        place=lambda platform, key: test_notify.place(platform, 21, **{"Idempotency-Key": key}),
        status=lambda platform, order_id: test_notify.shown(platform, order_id)["status"],
        level=lambda platform: test_notify.level(platform, 21),
        sold="NOTIFIED",
        ended=frozenset({"NOTIFIED"}),
    ),
)


@pytest.fixture
def target() -> Iterator[Target]:
    """The service that is notified; it outlives the platform."""
    target = Target()
    yield target
    target.close()


@pytest.fixture
def platform(
    request: pytest.FixtureRequest,
    session_directory: Path,
    target: Target,
    case: Case,
    server: str,
) -> Iterator[ArmedPlatform]:
    """A running platform whose crash points can be armed."""
    directory = Path(tempfile.mkdtemp(prefix=f"{case.name}-crashes-", dir=session_directory))
    directory.chmod(0o711)
    with on_engine(request, server) as databases:
        environment = {
            "WAYBILL_BLUEPRINT": case.name,
            "NOTIFY_URL": target.url,
            "WAYBILL_ORDER_DEADLINE_SECONDS": "5",
            **databases,
        }
        platform = ArmedPlatform(directory / "data", environment)
        platform.without = case.without
        try:
            provisioned(platform).start()
            yield platform
        finally:
            platform.end()
            shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_lost_doubled_or_stranded(platform: ArmedPlatform, case: Case) -> None:
    """P2, P3: SIGKILL at each point in turn while customers order and cancel; then the books."""
    case.stock(platform)
    accepted: dict[str, str] = {}
    doubtful: list[str] = []

    def ask(key: str) -> None:
        answer = case.place(platform, key)
        if answer.is_success:
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

    for point in case.reached:
        assert platform.process is not None
        pid = platform.process.pid
        platform.crash.arm("kill", point)
        wait_for(order_until_killed, REACH_SECONDS, f"killed at {point}")
        assert platform.reached[-1] == (pid, "kill", point)
        platform.start()
    for key in doubtful:
        ask(key)
    gate = platform.run("lag", "--max-rows", "0", "--within", "50")
    assert gate.returncode == 0, gate.stdout + gate.stderr
    statuses: Counter[str] = Counter()

    def end_of(order_id: str) -> str:
        def ended() -> str | None:
            status = case.status(platform, order_id)
            return status if status in case.ended else None

        return wait_for(ended, 120, f"{order_id} of {len(accepted)} orders ends")

    for order_id in accepted.values():
        statuses[end_of(order_id)] += 1
    taken = statuses[case.sold]
    wait_for(lambda: case.level(platform) == UNITS - taken or None, 30, "stock is sold once")
    assert taken
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr

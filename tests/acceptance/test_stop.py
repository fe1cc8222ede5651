"""SIGTERM drains; Ctrl-C in the foreground is clean; a database outage costs time only."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.processes import wait_for
from tests.acceptance.traffic import Traffic

from waybill.platform.embedded.processes import end_processes, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from tests.acceptance.processes import PlatformProcess

GAP_SECONDS = 0.03
"""Of a customer between two orders: some are always under way, and the machine is not full."""
DRAIN_SECONDS = 20
SHORT_DRAIN_SECONDS = 3
STOP_SECONDS = 4
"""What stopping takes besides, on a busy machine: PostgreSQL's own shutdown."""


def more_than(count: int, found: Sized) -> bool:
    """Whether there are more than so many."""
    return len(found) > count


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_signal_drains_within_twenty_seconds_and_the_next_start_goes_on(
    make_platform: Callable[..., PlatformProcess], number: int
) -> None:
    """Exit status 0, no stack trace, and every accepted order ends after the restart."""
    platform = make_platform().start()
    platform.raise_stock()
    with Traffic(platform, gap_seconds=GAP_SECONDS) as traffic:
        traffic.resume()
        wait_for(lambda: len(traffic.accepted) > 50, 30, "some traffic")
        started = time.monotonic()
        assert platform.stop(number) == 0
        assert time.monotonic() - started < DRAIN_SECONDS
        traffic.pause()
        assert "Traceback" not in platform.log.read_text()
        platform.start()
        traffic.settle_unknown()
    assert_balanced(platform, history=traffic.history())


def test_a_database_that_dies_answers_503_with_retry_after_and_comes_back(
    platform: PlatformProcess,
) -> None:
    """PostgreSQL is killed under load: 503 with Retry-After meanwhile, then all goes on."""
    platform.raise_stock()
    with Traffic(platform, gap_seconds=GAP_SECONDS) as traffic:
        traffic.resume()
        wait_for(lambda: len(traffic.accepted) > 50, 30, "some traffic")
        for _ in range(3):
            end_processes(platform.data / "postgres" / "data", at_once=True)
            reached = len(traffic.accepted)
            wait_for(partial(more_than, reached + 20, traffic.accepted), 60, "orders go on")
        traffic.pause()
    assert traffic.refused, "nobody noticed the outage"
    for status, retry_after in traffic.refused:
        assert status == 503
        assert retry_after is not None
    traffic.settle_unknown()
    assert_balanced(platform, history=traffic.history())


def test_a_signal_during_the_start_is_clean(make_platform: Callable[..., PlatformProcess]) -> None:
    """Ctrl-C as soon as PostgreSQL runs: status 0, no stack trace, nothing left, then a start."""
    platform = make_platform().launch()
    cluster = platform.data / "postgres" / "data"
    wait_for(lambda: processes_of(cluster), 30, "PostgreSQL runs")
    assert platform.stop(signal.SIGINT) == 0
    assert "Traceback" not in platform.log.read_text()
    assert processes_of(cluster) == []
    platform.start()


def test_a_call_that_hangs_holds_nobody_back(
    make_platform: Callable[..., PlatformProcess],
) -> None:
    """P11: the drain is bounded whatever the payment provider does."""
    platform = make_platform(
        WAYBILL_PAYMENT_DELAY_SECONDS="3600", WAYBILL_DRAIN_SECONDS_MAX=str(SHORT_DRAIN_SECONDS)
    ).start()
    order_id = platform.place("held").json()["id"]
    wait_for(lambda: platform.order(order_id)["status"] == "STOCK_RESERVED", 30, "payment begun")
    started = time.monotonic()
    assert platform.stop() == 0
    assert time.monotonic() - started < SHORT_DRAIN_SECONDS + STOP_SECONDS
    assert "Traceback" not in platform.log.read_text()

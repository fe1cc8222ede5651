"""kill -9 is a normal way to stop."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import rows
from tests.acceptance.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.processes import PlatformProcess

KILLS = 2
MANY_KILLS = 20


@pytest.mark.parametrize("kills", [KILLS, pytest.param(MANY_KILLS, marks=pytest.mark.long)])
def test_after_kill_of_everything_at_random_instants_every_accepted_order_ends(
    make_platform: Callable[..., PlatformProcess], kills: int
) -> None:
    """SIGKILL to all processes, PostgreSQL too, several times under load."""
    random = Random(20261121)  # noqa: S311 - reproducible instants
    platform = make_platform().start()
    platform.raise_stock()
    with Traffic(platform) as traffic:
        for _ in range(kills):
            traffic.resume()
            time.sleep(random.uniform(0.0, 0.8))  # the instant of the crash
            platform.kill()
            traffic.pause()
            platform.start()
        traffic.settle_unknown()
    assert len(traffic.accepted) > kills
    assert_balanced(platform, history=traffic.history())
    kept = {str(row["id"]) for row in rows(platform.data, "order", "SELECT id FROM app.orders")}
    assert set(traffic.accepted.values()) <= kept
    assert platform.stop() == 0

"""Every crash point with every action, each alone: load, restart, drain, and the whole audit.

A case has data of its own, and is `make test-faults`; test_crash_points.py does the same at all
points on one platform. Of the other blueprints than the default one those are the deaths.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.crashing import (
    DEADLINE_SOON,
    ArmedPlatform,
    Customers,
    die_at,
    discard_garbage,
    pass_by,
)
from tests.acceptance.processes import wait_for
from tests.acceptance.stages import CHOREOGRAPHY, OTHERS

from waybill.messaging.testing.crash_points import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _pytest.mark.structures import ParameterSet
    from tests.acceptance.stages import Stage

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

ORDERS_MORE = 8
"""So many are accepted after the point was passed, and again after the start."""
ORDERS_SECONDS = 30


def cases() -> Iterator[ParameterSet]:
    """Each point with each action; behind an act, "do it and then raise" is what `fail` does."""
    for action in ACTIONS:
        for point in CHOREOGRAPHY.points:
            if action != "do_then_fail" or ".before_" in point:
                yield pytest.param(CHOREOGRAPHY, action, point, id=f"{action}-{point}")
    for stage in OTHERS:
        for point in stage.points:
            yield pytest.param(stage, "kill", point, id=f"{stage.name}-kill-{point}")


@pytest.fixture
def platform(data_directory: Path, provisioned_data: Path, stage: Stage) -> Iterator[ArmedPlatform]:
    """A running platform on data of this case alone."""
    stage.copy(provisioned_data, data_directory)
    made = ArmedPlatform(data_directory, {**stage.environment, **DEADLINE_SOON}, stage)
    try:
        made.start()
        stage.raise_stock(made.port_base)
        yield made
    finally:
        made.end()
        shutil.rmtree(data_directory, ignore_errors=True)


@pytest.mark.parametrize(("stage", "action", "point"), [*cases()])
def test_nothing_is_lost_doubled_or_stranded(
    platform: ArmedPlatform, stage: Stage, action: str, point: str
) -> None:
    """P1, P2, P3, P6, P11: whatever happens at this point under load, the books are right.

    It fails, too, if the point was never reached. Customers order all the while; everything is
    killed (by the point itself, or after it), started, comes to rest, and is audited against what
    the customers were told.
    """
    with Customers(platform) as customers:
        customers.resume()
        if action == "kill":
            die_at(point, platform, customers)
        else:
            pass_by(point, action, platform, customers)
            wait_for(accepts_more(customers), ORDERS_SECONDS, f"orders after {action} at {point}")
            platform.kill()
        platform.start()
        wait_for(accepts_more(customers), ORDERS_SECONDS, "orders after the start")
    customers.settle_unknown()
    discard_garbage(platform)
    assert (action, point) in {(did, there) for _, did, there in platform.reached}
    assert_balanced(platform, history=customers.history(), blueprint=stage.blueprint)


def accepts_more(customers: Customers) -> Callable[[], bool]:
    """Whether so many more orders were accepted since now."""
    enough = len(customers.accepted) + ORDERS_MORE
    return lambda: len(customers.accepted) >= enough

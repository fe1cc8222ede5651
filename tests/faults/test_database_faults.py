"""PostgreSQL goes away, dies, cuts its clients off, or is held up: all that costs is time.

Each fault is felt, and ends with the audit. The whole durations are `make test-faults`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.faults import databases
from tests.faults.site import endures

if TYPE_CHECKING:
    from tests.faults.site import Site

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("seconds", [4.0, pytest.param(180.0, marks=pytest.mark.long)])
def test_postgresql_is_away(site: Site, seconds: float) -> None:
    """P1, P10: intake says 503 and Retry-After meanwhile; everything accepted ends."""
    endures(site, partial(databases.stopped, site, seconds))


def test_postgresql_is_restarted_in_immediate_mode(site: Site) -> None:
    """P2, P11: what was answered survives, though nothing was shut down in order."""
    endures(site, partial(databases.restarted_at_once, site))


@pytest.mark.parametrize(
    ("rounds", "every_seconds"), [(4, 1.0), pytest.param(30, 3.0, marks=pytest.mark.long)]
)
def test_backends_are_terminated(site: Site, rounds: int, every_seconds: float) -> None:
    """P3: `pg_terminate_backend` of everybody, again and again."""
    endures(site, partial(databases.terminated, site, rounds=rounds, every_seconds=every_seconds))


@pytest.mark.parametrize("seconds", [1.0, pytest.param(20.0, marks=pytest.mark.long)])
def test_a_slow_transaction_holds_the_lanes(site: Site, seconds: float) -> None:
    """Protocol O3: whoever waits for a lane gives up in time, comes again, and goes on after it."""
    endures(site, partial(databases.lane_held, site, seconds))


@pytest.mark.parametrize("orders", [10, pytest.param(500, marks=pytest.mark.long)])
def test_a_long_transaction_in_another_database_stops_nobody(site: Site, orders: int) -> None:
    """Pitfall B2: readers follow lanes, not the instance's oldest transaction."""
    endures(site, partial(databases.transaction_elsewhere, site, orders))

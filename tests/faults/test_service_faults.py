"""A service's process is paused past its lease, its clock jumps, its topics are delivered again.

By default only the clock jumps here: the others are test_broker_faults.py's, on Kafka.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import OFFSETS
from tests.faults import owners, topics
from tests.faults.site import endures

if TYPE_CHECKING:
    from tests.faults.site import Site

pytestmark = pytest.mark.acceptance
ON_REQUEST = pytest.mark.long


@pytest.mark.long
@pytest.mark.parametrize("service", OFFSETS)
def test_an_owner_is_paused_past_its_lease_and_woken(site: Site, service: str) -> None:
    """Protocol D1: the stand-by goes on; who wakes up finds its token void and writes nothing."""
    endures(site, partial(owners.paused, site, service))


@pytest.mark.long
@pytest.mark.parametrize("service", ["inventory", "payment", "notification"])
def test_an_owner_is_paused_in_a_transaction(site: Site, service: str) -> None:
    """Protocol D1, O3: the locks that it holds end with PostgreSQL's patience, not with its own."""
    endures(site, partial(owners.paused, site, service, in_transaction=True))


@pytest.mark.parametrize(
    ("service", "orders"),
    [("order", 8), *(pytest.param(name, 100, marks=ON_REQUEST) for name in OFFSETS)],
)
def test_the_clock_of_a_process_jumps(site: Site, service: str, orders: int) -> None:
    """Pitfall B64: leases go by the database's clock, intervals by one that does not jump."""
    with owners.jumping(site, service) as jumper:
        endures(site, partial(owners.clock_jumps, site, jumper, orders))


@pytest.mark.long
def test_every_topic_is_delivered_again(site: Site) -> None:
    """P3: all that was ever published comes once more, to everybody, and changes nothing."""
    again = topics.all_delivered_again if site.kafka else owners.delivered_again
    endures(site, partial(again, site))

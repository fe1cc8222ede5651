"""A database is restored from a backup while the other services have gone on."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import OFFSETS, wait_for
from tests.faults import restores
from tests.faults.site import AROUND, DEAD_LETTERS, END_SECONDS, endures, time_left

if TYPE_CHECKING:
    from tests.faults.site import Site

pytestmark = pytest.mark.acceptance
ON_REQUEST = pytest.mark.long
WHOLE = restores.Window(orders=200, seconds=60.0)
SHORT = restores.Window(orders=20, seconds=0.0)
"""Of how many orders, and how old, a backup is at least."""


@pytest.mark.parametrize(
    ("service", "window"),
    [
        ("payment", SHORT),
        *(
            pytest.param(service, WHOLE, marks=ON_REQUEST)
            for service in ("payment", "inventory", "notification")
        ),
    ],
)
def test_a_consumer_is_restored(site: Site, service: str, window: restores.Window) -> None:
    """Protocol D6, C15: it reads again what it forgot; nobody is charged or served twice."""
    endures(site, partial(restores.restored, site, service, window))


@pytest.mark.parametrize("window", [SHORT, pytest.param(WHOLE, marks=ON_REQUEST)])
def test_the_producer_of_orders_is_restored(site: Site, window: restores.Window) -> None:
    """Protocol D6: the audit names what the lost window held and nothing else; all else ends."""
    with site.ordering():
        site.accept(AROUND)
        before = len(site.lost)
        restores.restored(site, "order", window)
        healed = time.monotonic()
        site.accept(AROUND, END_SECONDS)
    wait_for(site.ready, END_SECONDS, "every service is ready again")
    wait_for(site.all_ended, time_left(healed), "all orders terminal")
    site.customers.settle_unknown()
    wait_for(site.all_ended, END_SECONDS, "all that were refused before are terminal")
    assert len(site.lost) - before >= window.orders
    report = restores.audit_all(site, END_SECONDS)
    assert restores.named(report) == {
        "I01": site.lost
        & set(site.customers.accepted.values()),  # told to a customer, and not there
        **restores.left_by(site),
        "I38": {"EUR"},
    }
    too_much = restores.sum_of(report, "I38", "kept") - restores.sum_of(report, "I38", "confirmed")
    assert too_much == restores.sum_of(report, "I37", "kept"), "captured for orders that are gone"
    for service in OFFSETS:
        assert site.value(service, DEAD_LETTERS) == 0, service

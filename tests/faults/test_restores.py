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

KEPT = "SELECT id FROM app.orders"


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
        restores.restored(site, "order", window)
        healed = time.monotonic()
        site.accept(AROUND, END_SECONDS)
    wait_for(site.ready, END_SECONDS, "every service is ready again")
    site.customers.settle_unknown()
    wait_for(site.all_ended, time_left(healed), "all orders terminal")
    accepted = set(site.customers.accepted.values())
    lost = accepted - {str(row["id"]) for row in site.rows("order", KEPT)}
    assert len(lost) >= window.orders - 1
    report = restores.audit_all(site, END_SECONDS)
    by_history, by_books, sums = restores.named(report, accepted)
    assert by_history == lost, "I01: told to the customer, and not there"
    assert by_books == lost, "reserved, captured or notified for no order"
    assert sums == {"I38"}
    assert restores.kept_too_much(report) == restores.captured_for_nobody(report)
    for service in OFFSETS:
        assert site.value(service, DEAD_LETTERS) == 0, service

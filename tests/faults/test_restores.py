"""A database is restored from a backup while the other services have gone on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.faults import restores
from tests.faults.site import endures

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
    endures(site, partial(restores.restored, site, service, window), restores.assert_books)


@pytest.mark.parametrize("window", [SHORT, pytest.param(WHOLE, marks=ON_REQUEST)])
def test_the_producer_of_orders_is_restored(site: Site, window: restores.Window) -> None:
    """Protocol D6: the audit names what the lost window held and nothing else; all else ends."""
    before = len(site.lost)
    fault = partial(restores.restored, site, "order", window)
    report = endures(site, fault, restores.assert_books)
    assert len(site.lost) - before >= window.orders
    too_much = restores.sum_of(report, "I38", "kept") - restores.sum_of(report, "I38", "confirmed")
    assert too_much == restores.sum_of(report, "I37", "kept"), "captured for orders that are gone"
    if site.kafka:
        told = {row["key"] for row in restores.rows_of(report, "I17")}
        assert site.lost <= told, "Kafka knows every one of them"

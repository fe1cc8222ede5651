"""A database is restored from a backup while the other services have gone on."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import wait_for
from tests.faults import restores
from tests.faults.site import AROUND, END_SECONDS, endures

if TYPE_CHECKING:
    from tests.faults.site import Site

pytestmark = pytest.mark.acceptance
WHOLE = {"orders": 200, "seconds": 60.0}
SHORT = {"orders": 20, "seconds": 0.0}

KEPT = "SELECT id FROM app.orders"


@pytest.mark.parametrize(
    ("service", "window"),
    [
        ("payment", SHORT),
        *(
            pytest.param(service, WHOLE, marks=pytest.mark.long)
            for service in ("payment", "inventory", "notification")
        ),
    ],
)
def test_a_consumer_is_restored(site: Site, service: str, window: dict[str, float]) -> None:
    """Protocol D6, C15: it reads again what it forgot; nobody is charged or served twice."""
    endures(site, partial(restores.restored, site, service, **window))


@pytest.mark.parametrize("window", [SHORT, pytest.param(WHOLE, marks=pytest.mark.long)])
def test_the_producer_of_orders_is_restored(site: Site, window: dict[str, float]) -> None:
    """Protocol D6: the audit names what the lost window held and nothing else; all else ends."""
    with site.ordering():
        site.accept(AROUND)
        restores.restored(site, "order", **window)
        healed = time.monotonic()
        site.accept(AROUND, END_SECONDS)
    wait_for(site.ready, END_SECONDS, "every service is ready again")
    site.customers.settle_unknown()
    try:
        wait_for(site.all_ended, 25, "x")
    except BaseException:
        import sys
        sys.path.insert(0, "/tmp")
        mod = __import__("faults-dbg")
        mod.dump(site)
        raise
    wait_for(site.all_ended, healed + END_SECONDS - time.monotonic(), "all orders terminal")
    accepted = set(site.customers.accepted.values())
    lost = accepted - {str(row["id"]) for row in site.rows("order", KEPT)}
    assert len(lost) >= window["orders"] - 1
    report = restores.audit_all(site, END_SECONDS)
    named, sums = restores.orders_named(report, accepted)
    print(report.told(), sums, len(named - lost), len(lost - named), len(lost))
    for rule in report.violated:
        print(rule.id, rule.violations, rule.rows[0].row)
    assert named == lost

"""A service is killed and stays away for some orders: whoever does not need it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx2
from tests.acceptance.processes import wait_for
from tests.faults.site import AROUND, END_SECONDS

if TYPE_CHECKING:
    from tests.faults.site import Site

FELT_SECONDS = 30.0
PLACED_SINCE = "SELECT id, status FROM app.orders WHERE created_at > $1"


def each_killed(site: Site, meanwhile: dict[str, set[object]]) -> float:
    """Each in turn; `meanwhile` gets the orders that were placed while it was away."""
    healed = time.monotonic()
    for name in site.services:
        meanwhile[name] = killed(site, name)
        healed = site.come_back(name)
        wait_for(site.ready, END_SECONDS, f"every service is ready again after {name}")
    return healed


def killed(site: Site, name: str) -> set[object]:
    """SIGKILL: orders are taken, but by the dead, and end if they do not need it; those orders."""
    site.services[name].kill_process()
    since = site.value("order", "SELECT clock_timestamp()")
    if name == "order":
        unreached = len(site.customers.unreached)
        what = "customers find nobody"
        wait_for(lambda: len(site.customers.unreached) > unreached, FELT_SECONDS, what)
    else:
        with site.customers.all_let_in():
            site.accept(AROUND)
    assert not_ready(site) == {name}
    if name in needed(site):
        assert ended_since(site, since) == set(), f"nobody ends an order without {name}"
    elif name != "order":
        what = f"orders end without {name}"
        wait_for(lambda: len(ended_since(site, since)) >= AROUND, FELT_SECONDS, what)
    return {row["id"] for row in site.rows("order", PLACED_SINCE, since)}


def not_ready(site: Site) -> set[str]:
    """The services that do not say that they are ready."""
    return {name for name in site.services if not is_ready(site, name)}


def is_ready(site: Site, name: str) -> bool:
    """Whether it says so of itself."""
    try:
        answer = site.services[name].client.get(f"{site.url(name)}/readyz")
    except httpx2.TransportError:
        return False
    return answer.status_code == 200


def needed(site: Site) -> set[str]:
    """The services without which no order ends: who decides, and whoever answers a step."""
    blueprint = site.stage.blueprint
    answers = {step.done for step in blueprint.process.steps if not step.afterwards}
    answering = {
        blueprint.teller(event).database for event in blueprint.events if event.__name__ in answers
    }
    called = {"notification"} if blueprint.orders.notices else set[str]()
    return {blueprint.host, *answering, *called}


def ended_since(site: Site, since: object) -> set[object]:
    """The orders that were placed after an instant and have come to their end."""
    endings = {each.status for each in site.stage.blueprint.order_process.endings}
    placed = site.rows("order", PLACED_SINCE, since)
    return {row["id"] for row in placed if row["status"] in endings}


def confirmed(site: Site, orders: set[object]) -> set[object]:
    """Those of these orders that ended well."""
    status = site.stage.blueprint.order_process.confirmed.status
    statement = "SELECT id FROM app.orders WHERE status = $1 AND id = ANY ($2)"
    return {row["id"] for row in site.rows("order", statement, status, list(orders))}

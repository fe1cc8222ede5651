"""The blueprint `orchestration`, a process a service: orders wait for who decides."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import wait_for
from tests.acceptance.stages import STAGES
from tests.faults.conftest import new_site
from tests.faults.site import AROUND, endures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
ORCHESTRATION = STAGES["orchestration"]
FELT_SECONDS = 30.0
ANSWERED = """
SELECT count(*) FROM app.payments WHERE status <> 'PENDING' AND order_id = ANY ($1)
"""
STATUSES = "SELECT DISTINCT status FROM app.orders WHERE id = ANY ($1)"


@pytest.fixture(scope="module")
def site(session_directory: Path, provisioned_data: Path) -> Iterator[Site]:
    """Five services on one server; each fault leaves them well."""
    with new_site(session_directory, provisioned_data, log="direct", stage=ORCHESTRATION) as made:
        yield made


def placed(site: Site, count: int) -> list[str]:
    """So many orders that are accepted from now on."""
    known = set(site.customers.accepted)
    site.accept(count)
    return [id_ for key, id_ in site.customers.accepted.copy().items() if key not in known]


def orchestrator_killed(site: Site) -> float:
    """Whoever reads its mind waits: paid and reserved, orders stay as they are until it is back."""
    site.services["orchestrator"].kill_process()
    orders = placed(site, AROUND)
    wait_for(
        lambda: site.value("payment", ANSWERED, orders) == len(orders),
        FELT_SECONDS,
        "all payments are answered",
    )
    assert site.rows("order", STATUSES, orders) == [{"status": "PENDING"}]
    return site.come_back("orchestrator")


def test_orders_wait_for_the_orchestrator(site: Site) -> None:
    """R313: once it is back they finish (M8)."""
    endures(site, partial(orchestrator_killed, site))

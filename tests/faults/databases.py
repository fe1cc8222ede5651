"""Faults of PostgreSQL: each returns when it is healed, and fails if nobody felt it."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import asyncpg
from tests.acceptance.database import url_of
from tests.acceptance.processes import wait_for

from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.core.lanes import DEAD_LETTER_LANE

if TYPE_CHECKING:
    from tests.faults.site import Site

FELT_SECONDS = 30.0
LOCK_SECONDS = 5.0
"""The flush waits so long for a lane (protocol O3)."""
RECOVERED = "automatic recovery in progress"

TERMINATE = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
WHERE datname LIKE '%db' AND usename <> 'postgres'
"""
WAITING = """
SELECT count(*) AS sessions FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))
"""
HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin"


def stopped(site: Site, seconds: float) -> None:
    """PostgreSQL is stopped in order, and stays away so long."""
    refused = len(site.customers.refused)
    site.server.take_down(signal.SIGINT)
    down = time.monotonic()
    wait_for(lambda: len(site.customers.refused) >= refused + 4, FELT_SECONDS, "orders refused")
    for service, process in site.services.items():
        answer = process.client.get(f"{site.url(service)}/readyz")
        assert answer.status_code == 503, f"{service} is ready without a database"
    time.sleep(max(0.0, down + seconds - time.monotonic()))  # how long it lasts is the fault
    site.server.bring_up()
    while_down = site.customers.refused[refused:]
    assert {status for status, _ in while_down} == {503}
    assert all(int(retry_after or 0) >= 1 for _, retry_after in while_down)


def restarted_at_once(site: Site) -> None:
    """`pg_ctl restart -m immediate`: backends die where they stand, the journal is replayed."""
    began = len(site.server.log)
    backends = site.superuser("SELECT pid FROM pg_stat_activity WHERE datname LIKE '%db'")
    assert len(backends) > len(site.services)
    site.server.take_down(signal.SIGQUIT)
    site.server.bring_up()
    assert RECOVERED in site.server.log[began:]


def terminated(site: Site, *, rounds: int, every_seconds: float) -> None:
    """All backends of all services are ended, again and again."""
    for _ in range(rounds):
        began, accepted = time.monotonic(), len(site.customers.accepted)
        (row,) = site.superuser(TERMINATE)
        assert row["ended"] > len(site.services), "the services had connections to lose"
        wait_for(lambda: len(site.customers.accepted) > accepted, FELT_SECONDS, "orders again")  # noqa: B023 - of this round
        time.sleep(max(0.0, began + every_seconds - time.monotonic()))


def lane_held(site: Site, seconds: float) -> None:
    """A transaction that nobody ends for so long holds every lane of the order outbox."""

    async def hold() -> None:
        connection = await asyncpg.connect(url_of(site.data, "order"))
        try:
            async with connection.transaction():
                for lane in range(DEAD_LETTER_LANE + 1):
                    await connection.execute(
                        "SELECT pg_advisory_xact_lock($1, $2)", LANE_LOCK_CLASS, lane
                    )
                began, felt = time.monotonic(), 0
                while time.monotonic() < began + seconds:
                    felt = max(
                        felt, await connection.fetchval(WAITING, connection.get_server_pid())
                    )
                    await asyncio.sleep(0.05)
                assert felt, "nobody waited for a lane"
        finally:
            await connection.close()

    asyncio.run(hold())


def transaction_elsewhere(site: Site, orders: int) -> None:
    """A transaction that wrote in another database stays open while orders go all their way.

    Whoever read up to the oldest running transaction would stand still (pitfall B2).
    """

    async def hold() -> None:
        connection = await asyncpg.connect(site.server.url())
        try:
            await connection.execute("CREATE TABLE IF NOT EXISTS elsewhere (n int)")
            async with connection.transaction():
                await connection.execute("INSERT INTO elsewhere VALUES (1)")
                xid = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
                await asyncio.to_thread(go_all_their_way, site, orders)
                (row,) = await asyncio.to_thread(site.rows, "order", HORIZON)
                assert row["xmin"] <= xid, "the instance's horizon stood still"
        finally:
            await connection.close()

    asyncio.run(hold())


def go_all_their_way(site: Site, count: int) -> None:
    """Wait until so many orders that are accepted from now on have ended."""
    known = set(site.customers.accepted)
    site.accept(count)
    placed = [id_ for key, id_ in site.customers.accepted.copy().items() if key not in known]
    for order_id in placed[:count]:
        site.order.ended(order_id, FELT_SECONDS)

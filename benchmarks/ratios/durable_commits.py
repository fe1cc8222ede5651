"""R10: throughput with durable commits to throughput without.

Waybill has no setting for this, and shall not have one. The benchmark itself takes protocol O3's
statement out of the scratch databases' `outbox_append`, and gives their roles
synchronous_commit = off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.cluster import connected
from benchmarks.load_side import Scenario
from benchmarks.ratios.two_sides import compare
from waybill.platform.provisioning import SERVICES, SIMULATOR, roles_of

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget
    from benchmarks.report import Result

APPEND: Final = "SELECT pg_get_functiondef('messaging.outbox_append'::regproc)"
RAISES: Final = "PERFORM set_config('synchronous_commit', 'on', true);"


class StatementNotFoundError(Exception):
    """`outbox_append` no longer holds the statement that this benchmark takes out."""


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """As it is, and with the statement taken out."""
    durable = "synchronous_commit on", Scenario()
    quick = "synchronous_commit off", Scenario(before_start=without_waiting)
    return [await compare(bench, budget, "R10", durable, quick)]


async def without_waiting(data: Path) -> None:
    """Let no commit of these scratch databases wait for the disk."""
    for service in SERVICES:
        async with connected(data, service) as connection:
            if service != SIMULATOR:
                await _take_out(connection)
            for role in roles_of(service):
                await connection.execute(f"ALTER ROLE {role} SET synchronous_commit = off")


async def _take_out(connection: asyncpg.Connection) -> None:
    definition = str(await connection.fetchval(APPEND))
    if definition.count(RAISES) != 1:
        raise StatementNotFoundError(f"outbox_append does not hold {RAISES!r} once: see R10")
    await connection.execute(definition.replace(RAISES, "NULL;"))

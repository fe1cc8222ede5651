"""What `make bench-ratios` does to its scratch databases works, and leaves books that balance.

None of it is a measurement.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest
from benchmarks import reader_side
from benchmarks.cluster import scratch, value
from benchmarks.effort import QUICK
from benchmarks.load_side import Scenario, measure
from benchmarks.multiply import multiply
from benchmarks.ratios.durable_commits import without_waiting
from benchmarks.ratios.poison import ENVIRONMENT, STAGES, discard, plant, redrive, refuse_some

from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import urls_of

if TYPE_CHECKING:
    from pathlib import Path

BRIEF = replace(QUICK, warm_up_seconds=0.2, seconds=1.5, connections=8)
ORDERS = "SELECT count(*) FROM app.orders WHERE status = 'CONFIRMED'"
LETTERS = "SELECT count(*) FROM messaging.dead_letters WHERE verdict = $1"


@pytest.mark.long
@pytest.mark.acceptance
async def test_what_the_ratios_do_to_a_platform_leaves_its_books_clean(
    session_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R10, R12, R13, R16: each part ends with the audit of all of it (benchmarks/README.md)."""
    async with scratch(session_directory) as place:
        data = place.copy("data")
        failing = Scenario(
            environment=ENVIRONMENT,
            before_start=without_waiting,
            prepare=partial(refuse_some, of=20),
            mend=redrive,
        )
        await measure(data, BRIEF, failing)
        async with EmbeddedPostgres(data) as server:
            placed = await value(data, "order", ORDERS)
            redriven = [await value(data, each, LETTERS, "REDRIVEN") for each in STAGES]
            assert any(redriven), "which stages orders fail at is chance"
            connection = await asyncpg.connect(urls_of(server, "payment").service)
            assert await connection.fetchval("SHOW synchronous_commit") == "off"
            await connection.close()
        await multiply(data, 3)
        await measure(data, BRIEF, Scenario(environment=ENVIRONMENT, beside=plant, mend=discard))
        async with EmbeddedPostgres(data):
            assert await value(data, "order", ORDERS) > 4 * placed
            assert await value(data, "inventory", LETTERS, "DISCARDED") > 0
        monkeypatch.setattr(reader_side, "BURST_EVENTS", 2_000)
        effort = replace(BRIEF, snapshot_seconds=0.0, snapshot_windows=1)
        free, held = await reader_side.snapshot_rates(place.copy("reader"), effort)
        assert len(free) == 2
        assert min(free + held) > 0

"""What one happy order costs, in counted work: statements, commits, rows, journal bytes.

The figures are printed (`pytest -s`); the gates are a little above them, so that more work an order
is a decision. None of them is a time.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import free_port_base
from tests.benchmark.counting import Rows, Statements

from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.messaging.core.identity import new_id
from waybill.operations.http_client import Connection
from waybill.operations.load import Plan, raise_stock
from waybill.platform.chosen import claim
from waybill.platform.composition import Platform
from waybill.platform.databases import databases_of
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import database_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from waybill.blueprints.definition import Blueprint

MANY = 200
IDLE_SECONDS = 2.5
"""Longer than every poll; upkeep's, which is rarer, also runs at the start."""
WAIT_SECONDS = 60.0
LINGER_SECONDS = 0.5
"""Whether two facts of one order meet must not be a matter of the machine's speed. Below a second:
after that positions are written alone (protocol D2)."""

COMMIT = "COMMIT"
ROUND_TRIPS_MAX_OF_MANY = 3.0
STATEMENTS_MAX = 4
"""Of any transaction, whatever the size of its batch."""


@dataclass(frozen=True)
class Gates:
    """What an order may cost at most. `journal_bytes` has room for images of whole pages.

    `commits`, `round_trips`: of one alone. BEGIN and a batch's fence ride on the first statement,
    COMMIT on the last.
    """

    commits: int
    round_trips: int
    inserted: int
    updated: int
    journal_bytes: int


CHOREOGRAPHED = Gates(commits=8, round_trips=22, inserted=15, updated=9, journal_bytes=45_000)
"""Intake 1, inventory 2, order 1, payment 2, notification 2; the provider writes one statement."""
ORCHESTRATED = Gates(commits=14, round_trips=39, inserted=23, updated=14, journal_bytes=75_000)
"""Intake 1, orchestrator 3, order 3, payment 3, inventory 2, notification 2."""


class Shop:
    """Places orders on a platform of this process, over HTTP."""

    def __init__(self, platform: Platform, blueprint: Blueprint, port_base: int) -> None:
        self._platform = platform
        self._blueprint = blueprint
        self._port_base = port_base

    async def place(self, count: int) -> None:
        """Place so many two-line orders at once and wait until all of them are done with."""
        before = await self._mailed()
        await asyncio.gather(*(self._place_one() for _ in range(count)))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await self.at_rest(before + count):  # noqa: ASYNC110 - rows have no event
                await asyncio.sleep(0.01)

    async def at_rest(self, mailed: int) -> bool:
        """Whether so many mails are out, what was reserved is sold, and every order has ended."""
        sold = await self._mailed() >= mailed and not await self._reserved()
        return sold and not await self._open()

    async def _place_one(self) -> None:
        body = self._blueprint.workload.body(0, [(1, 1, 29.99), (2, 1, 29.99)])
        connection = Connection("127.0.0.1", self._port_base + 1)
        headers = f"Content-Type: application/json\r\nIdempotency-Key: {new_id()}\r\n"
        answer = await connection.request(
            "POST", self._blueprint.orders.contract.path, json.dumps(body).encode(), headers=headers
        )
        connection.close()
        assert answer.status in {201, 202}

    async def _mailed(self) -> int:
        sent = "SELECT count(*)::int AS n FROM app.notifications WHERE status = 'SENT'"
        return await self._value("notification", sent)

    async def _reserved(self) -> int:
        return await self._value("inventory", "SELECT sum(reserved)::int AS n FROM app.products")

    async def _open(self) -> int:
        unended = "SELECT count(*)::int AS n FROM app.orders WHERE status <> 'CONFIRMED'"
        return await self._value("order", unended)

    async def _value(self, service: str, statement: str) -> int:
        database = self._platform.running[service].messaging.ports.database
        (row,) = await database.fetch(statement)
        return int(row["n"])


@dataclass
class Figures:
    """The work of so many orders."""

    orders: int
    statements: int
    commits: int
    longest: int
    inserted: int
    updated: int
    journal: int

    def __str__(self) -> str:
        n = self.orders
        return (
            f"{n} at once, an order: {self.statements / n:.1f} round trips, "
            f"{self.commits / n:.2f} commits, {self.inserted / n:.2f} rows inserted, "
            f"{self.updated / n:.2f} updated, {self.journal / n:.0f} bytes of journal; "
            f"at most {self.longest} statements a transaction"
        )


async def measured(
    data: Path, blueprint: Blueprint, count: int, monkeypatch: pytest.MonkeyPatch
) -> Figures:
    """The work of `count` orders that are placed at once on an idle platform."""
    monkeypatch.setenv("PAYMENT_SIMULATE_FORCEOUTCOME", "success")
    settings = Settings.load(
        blueprint=blueprint.name,
        data_directory=data,
        port_base=free_port_base(),
        linger_seconds=LINGER_SECONDS,
    )
    data.mkdir(exist_ok=True)
    claim(settings)
    async with EmbeddedPostgres(data) as server:
        statements = await heard(server, settings, blueprint, count, monkeypatch)
        rows = Rows(server, [database_of(service) for service in databases_of(blueprint)])
        inserted, updated = await rows.written()
        async with Platform(settings, server) as platform:
            before = await rows.journal()
            await Shop(platform, blueprint, settings.port_base).place(count)
            journal = await rows.journal() - before
        inserted_after, updated_after = await rows.written()
    return Figures(
        orders=count,
        statements=statements.count(),
        commits=len(statements.orders()),
        longest=max(len(said) - (said[-1] == COMMIT) for said in statements.orders()),
        inserted=inserted_after - inserted,
        updated=updated_after - updated,
        journal=journal,
    )


async def heard(
    server: EmbeddedPostgres,
    settings: Settings,
    blueprint: Blueprint,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Statements:
    """What `count` orders say that an idle platform does not."""
    statements = Statements()
    with monkeypatch.context() as patch:
        statements.listen(patch)
        async with Platform(settings, server) as platform:
            shop = Shop(platform, blueprint, settings.port_base)
            await raise_stock(Plan(0, 0, 0, port_base=settings.port_base, blueprint=blueprint))
            await shop.at_rest(0)
            await asyncio.sleep(IDLE_SECONDS)  # not to wait: this is what idleness says
            statements.idle_until_here()
            await shop.place(count)
            statements.stop()  # the platform's own stop is no order's work
    return statements


@pytest.mark.parametrize(
    ("blueprint", "gates"),
    [
        pytest.param(CHOREOGRAPHY, CHOREOGRAPHED, id="choreography"),
        pytest.param(ORCHESTRATION, ORCHESTRATED, id="orchestration", marks=pytest.mark.long),
    ],
)
async def test_work_an_order(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch, blueprint: Blueprint, gates: Gates
) -> None:
    """Alone and among 200: rows by the order, statements by the batch (targets R9)."""
    one = await measured(data_directory, blueprint, 1, monkeypatch)
    many = await measured(data_directory, blueprint, MANY, monkeypatch)
    print(f"\n{one}\n{many}")  # noqa: T201 - the figures are what it is for
    assert one.commits <= gates.commits
    assert one.statements <= gates.round_trips
    assert many.statements <= MANY * ROUND_TRIPS_MAX_OF_MANY
    for figures in (one, many):
        assert figures.longest <= STATEMENTS_MAX, "statements a batch are a constant"
        assert figures.inserted <= gates.inserted * figures.orders
        assert figures.updated <= gates.updated * figures.orders
        assert figures.journal <= gates.journal_bytes * figures.orders

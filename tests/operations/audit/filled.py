"""Databases that a real run filled, once a session, and copies of them for one test each."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from rich.console import Console
from tests.acceptance.test_poison import GARBAGE, MENDED, POISON, WRONG

from waybill.blueprints.catalogue import DEFAULT
from waybill.messaging.adapters.postgres.verdicts import discard_dead_letters, redrive_dead_letters
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of
from waybill.operations.audit import AuditOptions, audit
from waybill.platform.composition import Platform
from waybill.platform.demo.acts import Stage, cancelled_on_its_way
from waybill.platform.demo.play import play
from waybill.platform.demo.shop import Shop
from waybill.platform.provisioning import SERVICES, database_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from waybill.operations.audit import Report
    from waybill.platform.embedded import EmbeddedPostgres

ORDERS = 40
"""Beside the demo's, so that most lanes have several rows."""
WAIT_SECONDS = 60.0


class Filled:
    """A server whose databases hold orders of every kind; nothing runs on it any more."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)

    def urls(self) -> dict[str, str]:
        """The superuser's URLs by service."""
        return {service: self.server.url(database_of(service)) for service in SERVICES}

    @contextmanager
    def copies(self, services: Sequence[str]) -> Iterator[dict[str, str]]:
        """The same, but of fresh copies of these services' databases."""
        urls, names = self.urls(), []
        for service in services:
            names.append(f"{database_of(service)}_{next(self._numbers)}")
            copying = f'CREATE DATABASE "{names[-1]}" TEMPLATE "{database_of(service)}"'
            asyncio.run(execute(self.server.url(), [f"{copying} STRATEGY FILE_COPY"]))
            urls[service] = self.server.url(names[-1])
        yield urls
        drops = [f'DROP DATABASE "{name}" (FORCE)' for name in names]
        asyncio.run(execute(self.server.url(), drops))


async def execute(url: str, statements: Sequence[str]) -> None:
    """Run statements as the superuser."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def value(url: str, statement: str) -> Any:  # noqa: ANN401 - whatever the column holds
    """The first column of the first row."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def audited(urls: Mapping[str, str], **options: Any) -> Report:  # noqa: ANN401 - AuditOptions' own
    """The report; what does not move is stranded, since nothing runs here."""
    return asyncio.run(audit(urls, AuditOptions(**{"still_seconds": 0.0, **options})))


async def fill(server: EmbeddedPostgres, data: Path, port_base: int) -> None:
    """Orders of every kind, and dead letters with every verdict."""
    settings = Settings.load(data_directory=data, port_base=port_base)
    platform = Platform(settings, server)
    async with platform:
        shop, console = Shop(DEFAULT, port_base), Console(quiet=True)
        provider = platform.running["payment"].built.provider
        stage = Stage(blueprint=DEFAULT, shop=shop, say=console.print, provider=provider)
        await play(stage, console)
        await _refunded(platform, stage)
        for number in range(ORDERS):
            await shop.place(1 + number % 3, 1)
        for journey in shop.journeys:
            await shop.follow(journey)
        await _redriven(shop, platform, server)
        await _poisoned(platform, server)
        urls = {service: server.url(database_of(service)) for service in SERVICES}
        report = await audit(urls, AuditOptions(settle_seconds=WAIT_SECONDS))
        assert report.exit_status == 0, report.told()
        await shop.close()


async def _refunded(platform: Platform, stage: Stage) -> None:
    """Customers change their minds until one does so while the provider captures."""
    database = platform.running["payment"].messaging.ports.database
    refunds = "SELECT count(*)::int AS refunds FROM app.payments WHERE status LIKE 'REFUND%'"
    while not (await database.fetch(refunds))[0]["refunds"]:
        await cancelled_on_its_way(stage)


async def _redriven(shop: Shop, platform: Platform, server: EmbeddedPostgres) -> None:
    """A constraint that was wrong, then dropped: one letter is redriven and applied."""
    database = platform.running["notification"].messaging.ports.database
    url = server.url(database_of("notification"))
    await execute(url, WRONG)
    journey = await shop.follow(await shop.place(4, 9_999))
    letters = "SELECT message_id FROM messaging.dead_letters WHERE key = $1 AND verdict = $2"

    async def letter(verdict: str) -> Any:  # noqa: ANN401 - asyncpg's UUID
        rows = await database.fetch(letters, journey.id, verdict)
        return rows[0]["message_id"] if rows else None

    message_id = await _awaited(lambda: letter("OPEN"))
    await execute(url, [MENDED])
    why = {"who": "a test", "why": "the constraint is gone"}
    judged = await redrive_dead_letters(
        database, "notification-service", [message_id], inbox_retention_seconds=1e6, **why
    )
    assert judged.done == (message_id,)
    await _awaited(lambda: letter("REDRIVEN"))


async def _poisoned(platform: Platform, server: EmbeddedPostgres) -> None:
    """Garbage in the order service's outbox: an open letter, and one that was discarded."""
    key, message_id = str(new_id()), new_id()
    connection = await asyncpg.connect(server.url(database_of("order")))
    await connection.fetch(POISON, message_id, key, lane_of(key), GARBAGE)
    await connection.close()
    letters = "SELECT message_id FROM messaging.dead_letters WHERE key = $1"
    for service in ("inventory", "notification"):
        database = platform.running[service].messaging.ports.database
        await _awaited(lambda database=database: database.fetch(letters, key))  # type: ignore[misc] # a loop's variable
    why = {"who": "a test", "why": "it is garbage"}
    await discard_dead_letters(database, "notification-service", [message_id], **why)


async def _awaited(look: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what was found
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := await look()):  # noqa: ASYNC110 - rows have no event
            await asyncio.sleep(0.02)
    return found

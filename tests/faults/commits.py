"""COMMITs of running services that never arrive, or whose answers never do."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.acceptance.processes import wait_for
from tests.acceptance.proxy import CommitProxy
from tests.faults.databases import TERMINATE

from waybill.platform.own_databases import database_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.proxy import Transaction
    from tests.faults.site import Server, Site

CUTS = 5
"""Of each service: more than a pool keeps idle."""
FELT_SECONDS = 30.0


def cut_off(site: Site, *, before: bool) -> None:
    """Of each service that handles messages, some connections are cut at what they commit."""
    with in_front_of(site.server) as proxy:
        (row,) = site.superuser(TERMINATE)  # whoever comes back comes through the proxy
        assert row["ended"] > len(site.services)
        for service in site.stage.blueprint.services.values():
            if service.acts_on or service.publishes:
                cut_off_one(site, proxy, service.database, before=before)


def cut_off_one(site: Site, proxy: CommitProxy, service: str, *, before: bool) -> None:
    """So many of its connections, when they have written messages, or that they were read."""

    def writes(transaction: Transaction) -> bool:
        return transaction.database == database_of(service) and transaction.has("INSERT INTO")

    lose = proxy.lose_requests if before else proxy.lose_answers
    cut = lose(writes, CUTS)
    what = f"{CUTS} commits of {service} are cut off"
    wait_for(lambda: len(cut.made) >= CUTS, FELT_SECONDS, what)
    site.accept(1)


@contextmanager
def in_front_of(server: Server) -> Iterator[CommitProxy]:
    """While the block runs, whoever connects to the server's socket comes to a proxy."""
    (directory,) = parse_qs(urlsplit(server.url()).query)["host"]
    place = Path(directory) / ".s.PGSQL.5432"
    behind = place.with_suffix(".behind")
    loop = asyncio.new_event_loop()
    proxy = CommitProxy(behind)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    place.replace(behind)  # it goes on listening, under another name
    try:
        asyncio.run_coroutine_threadsafe(proxy.start(place), loop).result(timeout=10)
        yield proxy
    finally:
        behind.replace(place)
        asyncio.run_coroutine_threadsafe(_end(proxy), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


async def _end(proxy: CommitProxy) -> None:
    """Its connections, too: their owners come back to the server itself."""
    await proxy.stop()
    await proxy.hang_up()
